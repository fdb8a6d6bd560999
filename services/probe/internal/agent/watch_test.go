// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

func TestAgentObservesWhatIsSelected(t *testing.T) {
	t.Parallel()
	self, other := uint32(os.Getpid()), child(t)
	r := build(t, selector(t, "{select: [{pids: ["+strconv.Itoa(int(self))+"]}]}"))
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /a HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /hidden HTTP/1.1\r\n\r\n")
	})
	if v, _ := r.kernel.verdict(other); v.Observe {
		t.Error("the kernel observes a process that is not selected")
	}
	r.Select(selector(t, "{select: [{exe: '*/sleep'}]}"))
	r.kernel.give(func(kern.Sink) {}) // Idle puts it in force
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /hidden HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /b HTTP/1.1\r\n\r\n")
	})
	for pid, observe := range map[uint32]bool{self: false, other: true} {
		if v, ok := r.kernel.verdict(pid); !ok || v.Observe != observe {
			t.Errorf("verdict on %d is %v, %t, want observe %t", pid, v, ok, observe)
		}
	}
	batches, events, _ := r.read(t)
	var paths []string
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			paths = append(paths, x.GetHttp().GetPath())
		}
	}
	if d := cmp.Diff([]string{"/a", "/b"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	const found, instrumented, gone = eventv1.ProcessEvent_KIND_FOUND, eventv1.ProcessEvent_KIND_INSTRUMENTED, eventv1.ProcessEvent_KIND_GONE
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{instrumented, gone}, eventsOf(events, self)); d != "" {
		t.Errorf("events of the first process (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{found, instrumented}, eventsOf(events, other)); d != "" {
		t.Errorf("events of the second process (-want +got):\n%s", d)
	}
	if d := r.Status().Dropped; len(d) > 0 {
		t.Errorf("what is not selected was counted as lost: %v", d)
	}
}

// TestAgentFindsListeners uses this process as one that begins to listen while it runs.
func TestAgentFindsListeners(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	self := uint32(os.Getpid())
	r := build(t, selector(t, "{select: [{openPorts: "+strconv.Itoa(addr.Port)+"}]}"))
	r.kernel.give(func(s kern.Sink) { serve(s, self, 1, "GET /before HTTP/1.1\r\n\r\n") })
	if v, ok := r.kernel.verdict(self); !ok || v.Observe {
		t.Errorf("verdict before it listens: %v, %t", v, ok)
	}
	if ln, err = net.ListenTCP("tcp", addr); err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	r.kernel.give(func(kern.Sink) { r.tick(r.ticked) })
	if v, _ := r.kernel.verdict(self); !v.Observe {
		t.Error("a process that listens now is not observed")
	}
	r.kernel.give(func(s kern.Sink) { serve(s, self, uint16(addr.Port), "GET /after HTTP/1.1\r\n\r\n") })
	// A server that is gone before anybody could look is known by the port it answered on.
	r.kernel.give(func(s kern.Sink) { serve(s, 1<<29, uint16(addr.Port), "GET /gone HTTP/1.1\r\n\r\n") })
	batches, _, _ := r.read(t)
	var paths []string
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			paths = append(paths, x.GetHttp().GetPath())
		}
	}
	if d := cmp.Diff([]string{"/after", "/gone"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
}

func TestAgentFollowsProcesses(t *testing.T) {
	t.Parallel()
	alive := child(t)
	r := build(t, new(sel.Selector))
	if _, ok := r.kernel.verdict(alive); !ok {
		t.Error("the kernel was told nothing about a process that runs")
	}
	pid := uint32(1 << 28) // no such process: the records are all there is
	r.kernel.give(func(s kern.Sink) {
		s.Process(&kern.Process{Event: kern.Exit, TGID: alive}, nil, nil, nil)
		s.Process(&kern.Process{Event: kern.Exec, TGID: pid, Parent: 1, Started: 5e9, Time: 6e9}, []byte("/opt/job"), nil, []byte("OTEL_SERVICE_NAME=job\x00"))
		s.Process(&kern.Process{Event: kern.Fork, TGID: pid + 1, Parent: pid, Started: 7e9}, nil, nil, nil)
		serve(s, pid, 80, "GET /parent HTTP/1.1\r\n\r\n")
		s.Process(&kern.Process{Event: kern.Exit, TGID: pid}, nil, nil, nil)
		serve(s, pid, 80, "GET /late HTTP/1.1\r\n\r\n")
		serve(s, pid+1, 80, "GET /child HTTP/1.1\r\n\r\n")
	})
	for _, ended := range []uint32{alive, pid} {
		if v, ok := r.kernel.verdict(ended); ok {
			t.Errorf("the kernel still has verdict %v on process %d, which has ended", v, ended)
		}
	}
	batches, events, _ := r.read(t)
	got := map[string]string{}
	for _, x := range batches[0].GetExchanges() {
		p := batches[0].GetProcesses()[x.GetProcess()]
		got[x.GetHttp().GetPath()] = fmt.Sprint(p.GetPid()-pid, p.GetExecutable(), p.GetOtelServiceName())
	}
	want := map[string]string{"/parent": "0/opt/jobjob", "/late": "0/opt/jobjob", "/child": "1/opt/jobjob"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("processes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{eventv1.ProcessEvent_KIND_INSTRUMENTED, eventv1.ProcessEvent_KIND_GONE}, eventsOf(events, pid)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestAgentDoubtsProcesses: when the kernel says that it lost records of processes, one that runs another program than was known is
// found out.
func TestAgentDoubtsProcesses(t *testing.T) {
	t.Parallel()
	pid := child(t)
	r := build(t, new(sel.Selector))
	r.kernel.give(func(s kern.Sink) {
		r.table.Get(pid).Info = &eventv1.Process{Pid: pid, Executable: "/before/exec", StartUnixNano: 1}
		serve(s, pid, 80, "GET /before HTTP/1.1\r\n\r\n")
		r.sweep()
		serve(s, pid, 80, "GET /undoubted HTTP/1.1\r\n\r\n")
	})
	r.kernel.mu.Lock()
	r.kernel.drops = map[string]uint64{kern.LostProcessRecord: 1}
	r.kernel.mu.Unlock()
	r.kernel.give(func(s kern.Sink) {
		r.tick(r.ticked)
		r.sweep()
		serve(s, pid, 80, "GET /after HTTP/1.1\r\n\r\n")
	})
	batches, _, _ := r.read(t)
	got := map[string]bool{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			got[x.GetHttp().GetPath()] = b.GetProcesses()[x.GetProcess()].GetExecutable() == "/before/exec"
		}
	}
	if d := cmp.Diff(map[string]bool{"/before": true, "/undoubted": true, "/after": false}, got); d != "" {
		t.Errorf("taken for what it was (-want +got):\n%s", d)
	}
}
