// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/config"
)

// Faults of reading and of meaning come together; what a check says of a resource that could not be read whole does not.
func TestExamineReportsFaultsOfReadingAndOfMeaning(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.yaml")
	const text = `apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: whole}
spec: {match: "a"}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: faulty}
spec: {match: "b", nope: 1}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: last}
spec: {match: "c"}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(s *config.Set) (faults config.Faults) {
		for _, r := range s.Of("Pipeline") {
			faults = append(faults, r.Fault("spec.match", "one of %d is not true", len(s.Resources)))
		}
		return faults
	}
	set, faults := config.Examine([]string{file}, testKinds(t), check)
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprintf("%d:%d: %s", f.Line, f.Col, f.Path))
	}
	want := []string{"4:15: spec.match", "9:20: spec.nope", "14:15: spec.match"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s\n%v", d, faults)
	}
	if len(set.Resources) != 3 {
		t.Errorf("%d resources, want 3", len(set.Resources))
	}

	if _, faults = config.Examine([]string{file}, testKinds(t)); len(faults) != 1 {
		t.Errorf("without checks: %v", faults)
	}
}
