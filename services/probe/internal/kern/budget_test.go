// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// verifierBudget leaves half of what the verifier is willing to walk (a million instructions) for kernels that walk otherwise.
const verifierBudget = 500_000

// verifierSlack is how far a count may be from the golden one: releases of one kernel version differ a little.
const verifierSlack = 0.05

var updateVerified = flag.Bool("update", false, "write testdata/verified for this kernel")

// TestVerifiedInstructions holds every program to the number of instructions that the verifier walks for it, which
// testdata/verified has for each kernel version, so that no change makes a program dearer to load, or nearly refused, unnoticed.
// Where there is no file for the running kernel only the budget counts.
func TestVerifiedInstructions(t *testing.T) {
	golden := filepath.Join("testdata", "verified", kernelVersion(t)+".txt")
	want := readVerified(t, golden)
	have, tried := map[string]int{}, []string{}
	eachTier(t, func(t *testing.T, tier string) {
		k := load(t, Options{Tier: tier, DefaultIgnore: true})
		tried = append(tried, tier)
		for name, p := range k.programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, ok := info.VerifiedInstructions()
			if !ok {
				t.Skip("kernels before 5.16 do not tell")
			}
			have[tier+" "+name] = int(n) //nolint:gosec // A million at most.
			if n > verifierBudget {
				t.Errorf("%s: the verifier walks %d instructions, the budget is %d", name, n, verifierBudget)
			}
		}
	})
	measured := func(name string, _ int) bool {
		tier, _, _ := strings.Cut(name, " ")
		return slices.Contains(tried, tier)
	}
	if *updateVerified { // those of tiers that were not tried stay
		maps.DeleteFunc(want, measured)
		maps.Copy(have, want)
		writeVerified(t, golden, have)
		return
	}
	for name, n := range want {
		if !measured(name, n) {
			continue
		}
		if got := have[name]; float64(got) > float64(n)*(1+verifierSlack)+8 || float64(got) < float64(n)*(1-verifierSlack)-8 {
			t.Errorf("%s: the verifier walks %d instructions, %s says %d; if that is meant, run the test with -update", name, got, golden, n)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok && want != nil {
			t.Errorf("%s is not in %s: run the test with -update", name, golden)
		}
	}
}

func kernelVersion(t *testing.T) string {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`^\d+\.\d+`).FindString(string(release))
}

// readVerified returns nil if there is no such file.
func readVerified(t *testing.T, file string) map[string]int {
	t.Helper()
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var tier, program string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &tier, &program, &n); err != nil {
			t.Fatalf("%s: %q: %v", file, lines.Text(), err)
		}
		all[tier+" "+program] = n
	}
	return all
}

func writeVerified(t *testing.T, file string, all map[string]int) {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s %d\n", name, all[name])
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
