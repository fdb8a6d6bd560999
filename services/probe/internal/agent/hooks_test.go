// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"slices"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// lookedAt collects the processes whose libraries are to be hooked. It belongs to the goroutine that reads.
type lookedAt []uint32

func (l *lookedAt) Look(pid uint32) { *l = append(*l, pid) }

// TestAgentLooksForLibraries: an observed process is looked into when the kernel says that it is time, once, and the kernel is told
// so; what it forks has its libraries, what it execs has others; a process that nobody selected is left alone.
func TestAgentLooksForLibraries(t *testing.T) {
	t.Parallel()
	pid, other := child(t), uint32(os.Getppid())
	r := build(t, selector(t, `{select: [{exe: "*/sleep"}]}`))
	looked := new(lookedAt)
	exec := func(s kern.Sink, pid uint32) {
		s.Process(&kern.Process{Event: kern.Exec, TGID: pid, Time: 1 << 62}, []byte("/bin/sleep"), nil, nil)
	}
	needs := func(s kern.Sink, pid uint32) {
		s.Process(&kern.Process{Event: kern.NeedsTLS, TGID: pid}, nil, nil, nil)
	}
	tls := func(pid uint32) bool {
		v, _ := r.kernel.verdict(pid)
		return v.TLS
	}
	r.kernel.give(func(s kern.Sink) {
		s.(*Agent).cfg.Hooks = looked
		exec(s, pid)
		if tls(pid) {
			t.Error("the libraries of a program are known at its exec")
		}
		needs(s, pid)
		if !tls(pid) {
			t.Error("the kernel is not told that a process was looked into")
		}
		s.Process(&kern.Process{Event: kern.Fork, TGID: 1 << 28, Parent: pid, Started: 7e9}, nil, nil, nil)
		if !tls(1 << 28) {
			t.Error("a child does not have its parent's libraries")
		}
		exec(s, pid)
		if tls(pid) {
			t.Error("the libraries are those of the program before")
		}
		needs(s, pid)
		needs(s, other)
		needs(s, 1<<29) // unknown
		if want := (lookedAt{pid, pid}); !slices.Equal(*looked, want) {
			t.Errorf("looked into %v, want %v", *looked, want)
		}
		s.(*Agent).Select(new(sel.Selector)) // has the other one observed too
	})
	r.kernel.give(func(kern.Sink) {})
	if !slices.Contains(*looked, other) {
		t.Error("a process that comes to be observed is not looked into")
	}
	_, _, _ = r.read(t)
}
