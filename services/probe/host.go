// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is what the probe depends on besides the kernel's willingness to take its programs.
type Host struct {
	Kernel       string       `json:"kernel"`       // release, as uname tells it
	Architecture string       `json:"architecture"` // as Go names it
	BTF          bool         `json:"btf"`          // the kernel describes its types; no tier works without
	Lockdown     string       `json:"lockdown"`     // none, integrity, confidentiality, or unknown
	Cgroups      string       `json:"cgroups"`      // v2, hybrid, v1, or unknown
	PIDNamespace string       `json:"pidNamespace"` // initial, or nested: then processes of the machine are not told apart
	Capabilities []Capability `json:"capabilities"`
}

// Capability is a privilege that the probe uses.
type Capability struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	// Without says what is missing without it.
	Without string `json:"without"`
	// Required tells that nothing works without it.
	Required bool `json:"required"`
}

// capabilities are the privileges that the probe uses. CAP_SYS_ADMIN stands in for the first two.
var capabilities = []struct { //nolint:gochecknoglobals // a constant table
	bit      int
	name     string
	without  string
	required bool
}{
	{unix.CAP_BPF, "CAP_BPF", "no program can be loaded", true},
	{unix.CAP_PERFMON, "CAP_PERFMON", "no program can be attached", true},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "executable, language and environment of other users' processes are unknown", false},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "executables that only their users may read have no language", false},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "host names of containers come from their environment", false},
}

// initialPIDNamespace is the inode of the first pid namespace in every kernel (PROC_PID_INIT_INO).
const initialPIDNamespace = "pid:[4026531836]"

// inspect looks at this machine; procRoot is where the machine's procfs is mounted.
func inspect(procRoot string) Host {
	h := Host{
		Kernel: release(), Architecture: runtime.GOARCH, Lockdown: lockdown(), Cgroups: cgroups(), PIDNamespace: "nested",
		Capabilities: held(effective()),
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	h.BTF = err == nil
	// Seen from a nested namespace through its own procfs, process 1 is in that namespace too.
	if ns, err := os.Readlink(filepath.Join(procRoot, "1/ns/pid")); err == nil && ns == initialPIDNamespace {
		h.PIDNamespace = "initial"
	} else if own, err := os.Readlink("/proc/self/ns/pid"); err == nil && own == initialPIDNamespace {
		h.PIDNamespace = "initial"
	}
	return h
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// lockdown reads "none [integrity] confidentiality", where the brackets show what is in force.
func lockdown() string {
	data, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(data), "[")
	mode, _, ok := strings.Cut(rest, "]")
	if !ok {
		return "unknown"
	}
	return mode
}

// cgroups tells how the control groups are mounted at the usual place.
func cgroups() string {
	var fs unix.Statfs_t
	switch {
	case unix.Statfs("/sys/fs/cgroup", &fs) != nil:
		return "unknown"
	case fs.Type == unix.CGROUP2_SUPER_MAGIC:
		return "v2"
	case unix.Statfs("/sys/fs/cgroup/unified", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC:
		return "hybrid"
	}
	return "v1"
}

// effective returns the effective capabilities of this process as a bit set.
func effective() uint64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "CapEff:\t")
	text, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0
	}
	return set
}

func held(set uint64) []Capability {
	has := func(bit int) bool { return set&(1<<bit) != 0 }
	out := make([]Capability, 0, len(capabilities))
	for _, c := range capabilities {
		out = append(out, Capability{
			Name: c.name, Without: c.without, Required: c.required, Present: has(c.bit) || c.required && has(unix.CAP_SYS_ADMIN),
		})
	}
	return out
}

// missing says in words what the host keeps the probe from.
func (h *Host) missing() []string {
	var out []string
	if !h.BTF {
		out = append(out, "the kernel has no BTF (/sys/kernel/btf/vmlinux): nothing can be observed")
	}
	if h.PIDNamespace != "initial" {
		out = append(out, "this is not the machine's pid namespace: use the host's (hostPID, --pid=host), or processes cannot be told apart")
	}
	for _, c := range h.Capabilities {
		if !c.Present {
			out = append(out, fmt.Sprintf("%s is missing: %s", c.Name, c.Without))
		}
	}
	return out
}
