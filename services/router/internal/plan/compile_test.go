// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/plan"
)

var update = flag.Bool("update", false, "rewrite golden files")

func load(t testing.TB, yaml string) *config.Set {
	t.Helper()
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "test.yaml", Data: []byte(yaml)})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func compile(t testing.TB, yaml string, always ...plan.Unconditional) *plan.Plan {
	t.Helper()
	p, faults := plan.Compile(load(t, yaml), always, plan.Environment{Limiter: limit.New(nil, nil)})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Retire(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Each testdata/bad/*.yaml has its faults beside it.
func TestFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			set, err := config.Load([]string{file}, configv1.Kinds())
			if err != nil {
				t.Fatal(err)
			}
			p, faults := plan.Compile(set, nil, plan.Environment{})
			if p != nil {
				t.Error("there is a plan")
			}
			got, golden := faults.Error()+"\n", file+".faults"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDestinationsThatTakeOnlyMetrics(t *testing.T) {
	t.Parallel()
	p := compile(t, page+tempo+`
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: all}
spec: {to: [page, tempo]}
`)
	want := []plan.Skip{{Pipeline: "all", Destination: "page", Signals: []subject.Signal{subject.Traces, subject.Logs}}}
	if diff := cmp.Diff(want, p.Skipped()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"page", "tempo"}, p.Destinations()); diff != "" {
		t.Error(diff)
	}
}

const (
	page = `
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: page}
spec: {prometheus: {endpoint: "127.0.0.1:9464"}}
`
	tempo = `
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: tempo}
spec: {otlphttp: {endpoint: "http://127.0.0.1:4318"}}
`
)
