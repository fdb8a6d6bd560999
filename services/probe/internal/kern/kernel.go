// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// here returns the tier with its hooks named as this kernel does, without those it need not have; their programs are not
// for this kernel. again is whether hooks are there a second time.
func (t tier) here(again bool) (_ tier, without []string) {
	var hooks []hook
	for _, h := range t.hooks {
		if h.older != "" && function(h.name) == nil {
			h.name = h.older
		}
		if h.gone && function(h.name) == nil || h.again && !again {
			without = append(without, h.program)
			continue
		}
		hooks = append(hooks, h)
	}
	t.hooks = hooks
	return t, without
}

// impossible says which place that the tier cannot do without this kernel does not have.
func (t tier) impossible() error {
	here, _ := t.here(false)
	for _, h := range here.hooks {
		if err := h.missing(); err != nil && h.vital {
			return err
		}
	}
	return nil
}

// missing says that the kernel has no such place, or nothing to hook it with.
func (h hook) missing() error {
	known, err := types().Kernel()
	if err != nil {
		return fmt.Errorf("read kernel types: %w", err)
	}
	switch h.kind {
	case trampoline, kprobe:
		if function(h.name) == nil {
			return fmt.Errorf("this kernel has no function %s", h.name)
		}
		if h.with != "" {
			if err := (hook{name: h.with}).missing(); err != nil {
				return err
			}
		}
		if h.kind == kprobe {
			return kprobesMissing()
		}
		return trampolinesMissing()
	default:
		var tracepoint *btf.Typedef
		if err := known.TypeByName("btf_trace_"+h.name, &tracepoint); err != nil {
			return fmt.Errorf("this kernel has no tracepoint %s", h.name)
		}
	}
	return nil
}

// kprobesMissing says that the kernel was built without kprobes (CONFIG_KPROBE_EVENTS).
func kprobesMissing() error {
	if _, err := os.Stat("/sys/bus/event_source/devices/kprobe"); err != nil {
		return fmt.Errorf("this kernel has no kprobes: %w", err)
	}
	return nil
}

// trampolinesMissing says that no program may run at functions, by trying it at one that the kernel has for such trials, or
// that such a program may keep nothing in sockets (before 5.11).
var trampolinesMissing = sync.OnceValue(func() error { //nolint:gochecknoglobals // found out once
	attempt := func(body ...asm.Instruction) (*ebpf.Program, error) {
		return ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "bpf_fentry_test1", License: "GPL",
			Instructions: append(body, asm.Mov.Imm(asm.R0, 0), asm.Return()),
		})
	}
	p, err := attempt()
	if err != nil {
		return fmt.Errorf("this kernel lets no program run at functions: %w", err)
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return fmt.Errorf("this kernel lets no program run at functions: %w", err)
	}
	defer l.Close()
	// Called without arguments it is refused in any case, but as an unknown one only if it is.
	if _, err := attempt(asm.FnSkStorageGet.Call()); errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("programs at functions may keep nothing in sockets: %w", err)
	}
	return nil
})

// kernelTypes are there as long as somebody holds them: it takes long to read them, and memory to keep them.
var kernelTypes struct { //nolint:gochecknoglobals // a cache
	sync.Mutex
	held weak.Pointer[btf.Cache]
}

// types returns the types of the kernel.
func types() *btf.Cache {
	kernelTypes.Lock()
	defer kernelTypes.Unlock()
	c := kernelTypes.held.Value()
	if c == nil {
		c = btf.NewCache()
		kernelTypes.held = weak.Make(c)
	}
	return c
}

// function returns the kernel's function of a name, nil without one.
func function(name string) *btf.FuncProto {
	known, err := types().Kernel()
	if err != nil {
		return nil
	}
	var f *btf.Func
	if err := known.TypeByName(name, &f); err != nil {
		return nil
	}
	proto, _ := f.Type.(*btf.FuncProto)
	return proto
}

// suspended returns for how long the machine has been suspended since it started.
func suspended() time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 3 { // what passes between the two readings is too much
		var running, all unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &running)
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &all)
		least = min(least, time.Duration(all.Nano()-running.Nano()))
	}
	return least
}

// preallocated tells that this kernel warns of maps that programs at tracepoints and kprobes let grow (before 6.1).
func preallocated() bool {
	version, err := features.LinuxVersionCode()
	return err == nil && version < 6<<16|1<<8
}

// legacy tells that functions of programs may not be handed memory (before 5.13).
func legacy() bool {
	version, err := features.LinuxVersionCode()
	return err == nil && version < 5<<16|13<<8
}

// preemptible tells that a task may be preempted while a program at a tracepoint runs (after 6.18).
func preemptible() bool {
	version, err := features.LinuxVersionCode()
	return err == nil && version >= 6<<16|19<<8
}

// preallocatedConnections is how many connections tiers kprobe and syscall follow at a time where their state is made in
// advance: 1.2 KiB each.
const preallocatedConnections = 8192

// receiveFlagsAt tells which argument of tcp_recvmsg the flags are: the fifth until kernel 5.18, then the fourth.
func receiveFlagsAt() uint32 {
	proto := function("tcp_recvmsg")
	if proto == nil {
		return 3
	}
	at := slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool { return p.Name == "flags" })
	return uint32(max(at, 3)) //nolint:gosec // a small index
}

// preempted tells whether a program of an object may be preempted by another one on its CPU. Tracepoints used to hold the CPU: those of
// system calls before 6.13, the others before 6.19. Everything else has not since 5.11.
func preempted(object string) bool {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return true
	}
	since := uint32(5<<16 | 11<<8)
	switch object {
	case "syscall":
		since = 6<<16 | 13<<8
	case "btf":
		since = 6<<16 | 19<<8
	}
	return version >= since
}
