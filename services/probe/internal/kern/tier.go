// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A tier is a set of hooks that together show every exchange.
type tier struct {
	name    string
	objects []object
	hooks   []hook
}

// An object is a compiled file of bpf/.
type object struct {
	name   string
	load   func() (*ebpf.CollectionSpec, error)
	legacy func() (*ebpf.CollectionSpec, error) // for kernels whose functions may not be handed memory; nil: the same, or not for them
}

// A hook is a program and the place in the kernel it runs at.
type hook struct {
	program string
	kind    hookKind
	name    string // of the tracepoint or function
	older   string // name of the function where there is none of that name
	with    string // tracepoint without which it is of no use
	vital   bool   // without it nothing is seen, or what is seen is wrong
	gone    bool   // newer kernels have no such function and need none
	again   bool   // only needed where tasks can be preempted in hooks
	gives   string // what is missing without it
}

type hookKind int

const (
	rawTracepoint hookKind = iota
	btfTracepoint
	trampoline // fentry or fexit
	kprobe
)

// tiers returns what Load chooses from, best first.
func tiers() []tier {
	process, stored := object{name: "process", load: loadProcess}, object{name: "close", load: loadClose}
	byAddr := object{"close_by_addr", loadClose_by_addr, loadClose_by_addr_legacy}
	return []tier{{
		name:    TierBTF,
		objects: []object{{name: "btf", load: loadBtf}, stored, process},
		hooks: slices.Concat(twice([]hook{
			{program: "on_send", kind: btfTracepoint, name: "tcp_sendmsg_locked", vital: true, gives: "what is sent"},
			{program: "on_receive", kind: btfTracepoint, name: "skb_copy_datagram_iovec", vital: true, gives: "what is received"},
		}), closes(btfTracepoint), life()),
	}, {
		name:    TierFentry,
		objects: []object{{name: "fentry", load: loadFentry}, stored, process},
		hooks:   slices.Concat(twice(messages(trampoline, "tcp_sendmsg_locked")), twice(unixMessages()), closes(btfTracepoint), life()),
	}, {
		name:    TierKprobe,
		objects: []object{{"kprobe", loadKprobe, loadKprobe_legacy}, byAddr, process},
		hooks:   slices.Concat(messages(kprobe, "tcp_push"), unixEntries(), closes(rawTracepoint), life()),
	}, {
		name:    TierSyscall,
		objects: []object{{"syscall", loadSyscall, loadSyscall_legacy}, byAddr, process},
		hooks: slices.Concat(twice([]hook{
			{program: "on_enter", name: "sys_enter", vital: true, gives: "what is sent"},
			{program: "on_return", name: "sys_exit", vital: true, gives: "what is received"},
		}), closes(rawTracepoint), life()),
	}}
}

// twice adds a second program to each hook for what passes while others are preempted in the first.
func twice(hooks []hook) []hook {
	for _, h := range hooks {
		if !h.gone {
			h.program, h.gives, h.vital, h.again = h.program+"_again", h.gives+", while others are preempted", false, true
			hooks = append(hooks, h)
		}
	}
	return hooks
}

// An extra is an object that is loaded beside every tier. Where the kernel does not take it, what it gives is missing.
type extra struct {
	object
	gives string
}

func extras() []extra {
	return []extra{
		{object{"tls", loadTls, loadTls_legacy}, "plaintext of TLS libraries"},
		{object{name: "loop", load: loadLoop}, "what event loops are at work on"},
		{object{"sweep", loadSweep, loadSweep_legacy}, "exchanges that end with a unix socket's closing"},
		{object{"golang", loadGolang, loadGolang_legacy}, "client requests of Go programs in the trace of what caused them"},
	}
}

func objects(extras []extra) []object {
	var all []object
	for _, e := range extras {
		all = append(all, e.object)
	}
	return all
}

// messages are the functions that move bytes through a TCP socket; sent is the one that tells how much of a send was taken.
func messages(kind hookKind, sent string) []hook {
	return []hook{
		{program: "on_send", kind: kind, name: "tcp_sendmsg_locked", vital: true, gives: "what is sent"},
		{program: "on_sent", kind: kind, name: sent, vital: true, gives: "the end of what is sent"},
		{program: "on_pages", kind: kind, name: "do_tcp_sendpages", gone: true, gives: "what sendfile sends"},
		{program: "on_receive", kind: kind, name: "tcp_recvmsg", vital: true, gives: "where what is received goes"},
		{
			program: "on_copied", kind: kind, name: "__tcp_cleanup_rbuf", older: "tcp_cleanup_rbuf", vital: true,
			gives: "what is received",
		},
	}
}

// unixMessages are the functions that move bytes through a unix socket, at their beginnings and at their ends.
func unixMessages() []hook {
	return []hook{
		{program: "on_unix_send", kind: trampoline, name: "unix_stream_sendmsg", gives: "what is sent on unix sockets"},
		{program: "on_unix_sent", kind: trampoline, name: "unix_stream_sendmsg", gives: "how much is sent on unix sockets"},
		{program: "on_unix_receive", kind: trampoline, name: "unix_stream_recvmsg", gives: "where what is received on unix sockets goes"},
		{program: "on_unix_received", kind: trampoline, name: "unix_stream_recvmsg", gives: "what is received on unix sockets"},
	}
}

// unixEntries are the same functions where only their beginnings can be hooked, and the tracepoints behind them (6.3).
func unixEntries() []hook {
	const sent, received = "sock_send_length", "sock_recv_length"
	return []hook{
		{program: "on_unix_send", kind: kprobe, name: "unix_stream_sendmsg", with: sent, gives: "what is sent on unix sockets"},
		{program: "on_unix_sent", name: sent, gives: "how much is sent on unix sockets"},
		{
			program: "on_unix_receive", kind: kprobe, name: "unix_stream_recvmsg", with: received,
			gives: "where what is received on unix sockets goes",
		},
		{program: "on_unix_received", name: received, gives: "what is received on unix sockets"},
	}
}

// closes are the tracepoints at the end of a connection. By address, state would outlive the socket without them.
func closes(kind hookKind) []hook {
	vital := kind == rawTracepoint
	return []hook{
		{program: "on_state", kind: kind, name: "inet_sock_set_state", vital: vital, gives: "exchanges that end with the connection"},
		{program: "on_destroy", kind: kind, name: "tcp_destroy_sock", vital: vital, gives: "responses read after the connection ended"},
		{program: "on_state_again", kind: kind, name: "inet_sock_set_state", gives: "ends that come while others are at work"},
		{program: "on_destroy_again", kind: kind, name: "tcp_destroy_sock", gives: "ends that come while others are at work"},
	}
}

func life() []hook {
	return []hook{
		{program: "on_exec", name: "sched_process_exec", gives: "new programs at once"},
		{program: "on_fork", name: "sched_process_fork", gives: "new processes at once"},
		{program: "on_exit", name: "sched_process_exit", gives: "ended processes at once"},
	}
}

func (h hook) attach(p *ebpf.Program) (link.Link, error) {
	switch h.kind {
	case btfTracepoint, trampoline:
		return link.AttachTracing(link.TracingOptions{Program: p})
	case kprobe:
		return link.Kprobe(h.name, p, nil)
	default:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.name, Program: p})
	}
}

// spec returns the object with its settings, and without the maps that none of its programs uses.
func (o object) spec(opts Options) (*ebpf.CollectionSpec, error) {
	load := o.load
	if o.legacy != nil && (opts.legacy || legacy()) {
		load = o.legacy
	}
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", o.name, err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return slices.Contains(opts.without, name) })
	for _, h := range opts.hooks {
		if p := spec.Programs[h.program]; p != nil && h.kind == trampoline {
			p.AttachTo = h.name
		}
	}
	spec.Maps = usedMaps(spec.Maps, slices.Collect(maps.Values(spec.Programs))...)
	if ring := spec.Maps["ring"]; ring != nil {
		ring.MaxEntries = uint32(opts.RingBytes) //nolint:gosec // checked
	}
	if preallocated() {
		preallocate(spec.Maps)
	}
	verdict := uint8(1)
	if opts.DefaultIgnore {
		verdict = 0
	}
	for name, value := range map[string]any{
		"request_window":    uint32(opts.RequestWindow),  //nolint:gosec // checked
		"response_window":   uint32(opts.ResponseWindow), //nolint:gosec // checked
		"wake_bytes":        uint64(opts.RingBytes / 4),  //nolint:gosec // checked
		"default_verdict":   verdict,
		"tls_report_period": int64(opts.tlsReport),
		"call_kinds":        callKinds(),
		"receive_flags_at":  receiveFlagsAt(),
		"unix_salt":         opts.salt,
		"suspended":         opts.suspended.Nanoseconds(),
		"preempted":         preempted(o.name),
	} {
		if v := spec.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return spec, nil
}

// preallocate makes hash maps that have all their entries from the start, and the large ones smaller.
func preallocate(specs map[string]*ebpf.MapSpec) {
	for name, m := range specs {
		if m.Type != ebpf.Hash {
			continue
		}
		m.Flags &^= unix.BPF_F_NO_PREALLOC
		if name == "conns_by_addr" || name == "pipeline" {
			m.MaxEntries = min(m.MaxEntries, preallocatedConnections)
		}
	}
}
