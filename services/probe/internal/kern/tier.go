// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A tier is a set of hooks that together show every exchange.
type tier struct {
	name    string
	objects []object
	hooks   []hook
}

// An object is a compiled file of bpf/.
type object struct {
	name string
	load func() (*ebpf.CollectionSpec, error)
}

// A hook is a program and the place in the kernel it runs at.
type hook struct {
	program string
	name    string // of the tracepoint
	btf     bool   // BTF-typed; else a raw tracepoint
	vital   bool   // without it nothing is seen
	gives   string // what is missing without it
}

// tiers returns what Load chooses from, best first.
func tiers() []tier {
	life := []hook{
		{program: "on_exec", name: "sched_process_exec", gives: "new programs at once"},
		{program: "on_fork", name: "sched_process_fork", gives: "new processes at once"},
		{program: "on_exit", name: "sched_process_exit", gives: "ended processes at once"},
	}
	process := object{"process", loadProcess}
	return []tier{{
		name:    TierBTF,
		objects: []object{{"btf", loadBtf}, process},
		hooks: append([]hook{
			{program: "on_send", name: "tcp_sendmsg_locked", btf: true, vital: true, gives: "what is sent"},
			{program: "on_receive", name: "skb_copy_datagram_iovec", btf: true, vital: true, gives: "what is received"},
			{program: "on_state", name: "inet_sock_set_state", btf: true, gives: "exchanges that end with the connection"},
			{program: "on_destroy", name: "tcp_destroy_sock", btf: true, gives: "responses read after the connection ended"},
		}, life...),
	}, {
		name:    TierSyscall,
		objects: []object{{"syscall", loadSyscall}, process},
		hooks: append([]hook{
			{program: "on_enter", name: "sys_enter", vital: true, gives: "what is sent"},
			{program: "on_return", name: "sys_exit", vital: true, gives: "what is received"},
			{program: "on_state", name: "inet_sock_set_state", vital: true, gives: "the end of connections"},
			{program: "on_destroy", name: "tcp_destroy_sock", vital: true, gives: "the end of sockets"},
		}, life...),
	}}
}

func (h hook) attach(p *ebpf.Program) (link.Link, error) {
	if h.btf {
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
	return link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.name, Program: p})
}

// spec returns the object with its settings, and without the maps that none of its programs uses.
func (o object) spec(opts Options) (*ebpf.CollectionSpec, error) {
	spec, err := o.load()
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", o.name, err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return slices.Contains(opts.without, name) })
	used := map[string]bool{}
	for _, p := range spec.Programs {
		for _, ins := range p.Instructions {
			used[ins.Reference()] = true
		}
	}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool { return !used[name] && !private(name) })
	if ring := spec.Maps["ring"]; ring != nil {
		ring.MaxEntries = uint32(opts.RingBytes) //nolint:gosec // checked
	}
	verdict := uint8(1)
	if opts.DefaultIgnore {
		verdict = 0
	}
	for name, value := range map[string]any{
		"request_window":  uint32(opts.RequestWindow),  //nolint:gosec // checked
		"response_window": uint32(opts.ResponseWindow), //nolint:gosec // checked
		"wake_bytes":      uint64(opts.RingBytes / 8),  //nolint:gosec // checked
		"default_verdict": verdict,
		"call_kinds":      callKinds(),
		"unix_salt":       opts.salt,
	} {
		if v := spec.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return spec, nil
}
