// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// ErrNoBTF says that the kernel does not describe its types, without which no program can be fitted to it.
var ErrNoBTF = errors.New("kernel without BTF: /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)")

// MissingError names the capabilities that the process lacks.
type MissingError struct{ Capabilities []string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("missing %s: run as root or grant it (CAP_SYS_ADMIN includes all)", strings.Join(e.Capabilities, ", "))
}

// LoadError says why a tier could not be loaded or attached.
type LoadError struct {
	Tier string
	// Log is what the verifier had to say; all of it with Options.VerifierLog, else a few lines.
	Log []string
	err error
}

// oldest is the oldest kernel on which the programs were seen. Others may have what it takes by themselves, so a version is said to
// be too old only when it has refused something.
const oldest = 5<<16 | 10<<8

// tooOld adds to a refusal what it comes from on an old kernel.
func tooOld(refusal error) error {
	version, err := features.LinuxVersionCode()
	if refusal == nil || err != nil || version >= oldest {
		return refusal
	}
	return fmt.Errorf("kernel %d.%d is too old, 5.10 is needed: %w", version>>16, version>>8&0xff, refusal)
}

func newLoadError(tier string, err error) *LoadError {
	e := &LoadError{Tier: tier, err: err}
	if verifier := (*ebpf.VerifierError)(nil); errors.As(err, &verifier) {
		e.Log = verifier.Log
	}
	return e
}

func (e *LoadError) Error() string { return fmt.Sprintf("load tier %s: %v", e.Tier, e.err) }

func (e *LoadError) Unwrap() error { return e.err }

// A capability that the programs need, by its number in the kernel.
type capability struct {
	name   string
	number uint
	why    string
}

const capSysAdmin = 21

func capabilities() []capability {
	return []capability{
		{"CAP_BPF", 39, "load programs and make maps"},
		{"CAP_PERFMON", 38, "attach to tracepoints and read payload"},
	}
}

// requirements checks what every tier needs.
func requirements() error {
	effective, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range capabilities() {
		if !granted(effective, c) {
			missing = append(missing, c.name)
		}
	}
	if missing != nil {
		return &MissingError{missing}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return ErrNoBTF
	}
	return nil
}

func granted(effective uint64, c capability) bool {
	return effective&(1<<c.number|1<<capSysAdmin) != 0
}

// effectiveCapabilities reads the bits of the calling process.
func effectiveCapabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("read capabilities: no CapEff in /proc/self/status")
}
