// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// Service is the name of the service on the bus.
const Service = "probe"

// Config is what a probe needs to know. Begin with Default.
type Config struct {
	Bus  bus.Config
	Root subject.Root
	Node string // name of the machine: a token of subjects, and what events say about their origin
	// Paths are files and folders with resources, watched for changes. Without an Instrumentation among them every process
	// is observed.
	Paths []string
	// Tier is the set of hooks: "btf", "fentry", "kprobe", "syscall", or "auto" for the best one that this kernel takes.
	Tier string
	// RingBytes is the size of the ring between kernel and probe, a power of two. It holds what is recorded while the probe
	// gets no CPU: 8 MiB are a sixth of a second at 100,000 exchanges a second.
	RingBytes int
	// SpoolBytes bounds what is kept, compressed, while the bus is away: 64 MiB are more than half a million exchanges.
	SpoolBytes int
	// MeasureEvery is how often it is measured what observed processes use; zero: never.
	MeasureEvery time.Duration
	// ProcRoot is where the procfs of the initial pid namespace is mounted.
	ProcRoot string
	// DockerSocket is where Docker or Podman listens for questions about containers; several are parted by commas. Those that do not
	// exist, and "", know none.
	DockerSocket string
	// Attached is told the tier once the hooks are in place; nil: nobody is.
	Attached func(tier string)
	Admin    *admin.Admin // metrics and readiness of the process; nil for none
	Log      *slog.Logger
}

// Default returns the settings of a probe of this machine. The bus and the resources are up to the caller.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Config{
		Bus: bus.Config{Name: "busbar-" + Service}, Root: subject.DefaultRoot, Node: host,
		Tier: TierAuto, RingBytes: 8 << 20, SpoolBytes: 64 << 20, MeasureEvery: 10 * time.Second, ProcRoot: "/proc",
		DockerSocket: "/var/run/docker.sock,/run/podman/podman.sock", Log: slog.Default(),
	}
}

// The tiers that Config.Tier may name.
const (
	TierAuto    = "auto"
	TierBTF     = "btf"
	TierFentry  = "fentry"
	TierKprobe  = "kprobe"
	TierSyscall = "syscall"
)

// Check returns what is wrong with the Instrumentation resources of a set.
func Check(set *config.Set) config.Faults {
	_, faults := sel.Compile(set)
	return faults
}

// leastSpool holds a few batches of the largest size.
const leastSpool = 1 << 20

// validate returns every fault of the settings. The ring is the kernel's to judge.
func (c *Config) validate() error {
	var errs []error
	if c.Node == "" || strings.ContainsFunc(c.Node, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		errs = append(errs, fmt.Errorf("node name %q: want a name without spaces", c.Node)) // it is part of message ids
	}
	if c.SpoolBytes < leastSpool {
		errs = append(errs, fmt.Errorf("spool of %d bytes: want %d at least", c.SpoolBytes, leastSpool))
	}
	if c.MeasureEvery != 0 && c.MeasureEvery < time.Second {
		errs = append(errs, fmt.Errorf("processes measured every %v: want 1s at least, or 0 for never", c.MeasureEvery))
	}
	return errors.Join(errs...)
}

// load reads the resources that are in force at the start.
func (c *Config) load() (*sel.Selector, error) {
	if len(c.Paths) == 0 {
		return new(sel.Selector), nil
	}
	set, err := config.Load(c.Paths, configv1.Kinds())
	if err != nil {
		return nil, err
	}
	s, faults := sel.Compile(set)
	return s, faults.Err()
}
