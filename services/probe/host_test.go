// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestHeldCapabilities(t *testing.T) {
	t.Parallel()
	names := func(set uint64) (present []string) {
		for _, c := range held(set) {
			if c.Present {
				present = append(present, c.Name)
			}
		}
		return present
	}
	cases := map[string]struct {
		set  uint64
		want []string
	}{
		"none":                      {0, nil},
		"the two that are required": {1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON, []string{"CAP_BPF", "CAP_PERFMON"}},
		"the old one for all":       {1 << unix.CAP_SYS_ADMIN, []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"}},
	}
	for name, c := range cases {
		if d := cmp.Diff(c.want, names(c.set)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestReportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := Report{
		Host: Host{Kernel: "6.1", BTF: true, PIDNamespace: "nested", Capabilities: held(1 << unix.CAP_SYS_ADMIN)}, Tier: TierBTF,
		Tiers: []Tier{
			{Name: TierBTF, Works: true, Hooks: []Hook{{Name: "on_exec", Use: "new programs", Reason: "no tracepoint\nat all"}}},
			{Name: TierSyscall, Hooks: []Hook{{Name: "sys_enter", Use: "everything", Reason: "refused"}}},
		},
	}
	r.Missing = r.missing(nil)
	want := []string{"pid namespace", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "new programs: on_exec"}
	if len(r.Missing) != len(want) {
		t.Fatalf("missing %q, want %d", r.Missing, len(want))
	}
	for i, w := range want {
		if !strings.Contains(r.Missing[i], w) {
			t.Errorf("missing[%d] = %q, want %q in it", i, r.Missing[i], w)
		}
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"tier btf: works, would be used", "  no  on_exec                    no tracepoint", "tier syscall: does not work", "  yes CAP_BPF", "  no  CAP_SYS_PTRACE"} {
		if !slices.Contains(strings.Split(b.String(), "\n"), line) {
			t.Errorf("the text lacks %q:\n%s", line, b.String())
		}
	}
}
