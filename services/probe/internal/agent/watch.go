// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sdk"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// watched is a process in the eyes of the agent.
type watched struct {
	process  *proc.Process
	slot     decode.Slot
	observed bool          // its exchanges are published
	met      bool          // its first exchange has been seen
	told     *kern.Verdict // what the kernel was told last
	sdk      configv1.Instrumentation_Sdk
	exports  sdk.Signals   // what its SDK was seen to export
	look     time.Time     // when to look for connections to a collector
	pause    time.Duration // before that
	looked   time.Time     // when its libraries were last looked for; zero: not since its exec
	// Of a Go program: where its goroutines are, whether that was looked for, and in vain.
	goroutines    kern.Goroutines
	learned, lost bool
	// announced is what was last published about it.
	announced eventv1.ProcessEvent_Kind
}

// recent finds the processes of most exchanges faster than a map: the last one that was looked for, by some bits of its id. What the
// map has for a process may change only together with forget.
type recent [64]struct {
	pid uint32
	*watched
}

func (r *recent) find(pid uint32, all map[uint32]*watched) *watched {
	last := &r[pid%uint32(len(r))]
	if last.watched == nil || last.pid != pid {
		last.pid, last.watched = pid, all[pid]
	}
	return last.watched
}

func (r *recent) forget(pid uint32) { r[pid%uint32(len(r))].watched = nil }

// meetAll takes in the processes that ran before the agent, and announces those that listen: they are the services of the node.
func (a *Agent) meetAll() {
	for p := range a.table.All {
		a.lookInto(a.meet(p))
	}
	if a.selector.NeedsPorts() {
		a.watchPorts()
	}
	everyPort := func(uint16) bool { return true }
	for _, pid := range sel.NewListeners(a.cfg.Proc.Root).New(a.pids, everyPort) {
		a.announce(a.watched[pid])
	}
	a.flushEvents()
}

// meet begins to watch a process, or what a process has become by an exec. The first decision is made without its ports: at exec
// it listens on none. When they may change it the kernel is left to observe, until the first exchange decides.
//
// The kernel is told even what it would do anyway: a child has the verdict that its parent had when it forked, and an exec may
// have come between an earlier decision and its arrival.
func (a *Agent) meet(p *proc.Process) *watched {
	if before := a.watched[p.PID()]; before != nil {
		a.leave(before)
	}
	w := &watched{process: p}
	if a.table.Get(p.PID()) == p { // a full table does not hold it, and neither do we
		a.watched[p.PID()] = w
		a.recent.forget(p.PID())
	}
	a.judge(w, func() []uint16 { return nil })
	a.tell(w, w.observed || a.selector.NeedsPorts() && p.PID() != a.cfg.Self)
	return w
}

// meetChild begins to watch a forked process. It has its parent's libraries.
func (a *Agent) meetChild(p *proc.Process, parent uint32) {
	w := a.meet(p)
	if before := a.watched[parent]; before != nil && !before.looked.IsZero() {
		w.looked = before.looked
		a.tell(w, w.told != nil && w.told.Observe)
	}
}

// lookInto has the libraries of a process hooked if it is observed. What it loads later is found when its plaintext is missed.
func (a *Agent) lookInto(w *watched) {
	if a.cfg.Hooks == nil || w.told == nil || !w.told.Observe {
		return
	}
	w.looked = time.Now()
	a.cfg.Hooks.Look(w.process.PID())
	a.tell(w, true)
}

// lookAgainAfter is how often at most a process is looked into again because its plaintext is missed.
const lookAgainAfter = time.Minute

// missPlaintext is called when a process has had a connection whose plaintext was not seen.
func (a *Agent) missPlaintext(w *watched) {
	if time.Since(w.looked) >= lookAgainAfter {
		a.lookInto(w)
	}
}

// firstTraffic makes the decision that counts: by now the process is what it is going to be, and shows where it listens.
func (a *Agent) firstTraffic(w *watched, e *kern.Exchange) {
	w.met = true
	a.table.Settle(w.process)
	w.slot = decode.Slot{}
	a.judge(w, func() []uint16 {
		ports := a.listeners.Of(w.process.PID())
		if e.Role == kern.Server { // it may be gone, and then this is all that is left
			ports = append(ports, e.LocalPort)
		}
		return ports
	})
	a.tell(w, w.observed)
	a.announce(w)
}

// reconsider applies a new selector to the processes that it may be about.
func (a *Agent) reconsider(concerns func(*watched) bool) {
	for _, w := range a.watched {
		if w.process.Ended() || !concerns(w) {
			continue
		}
		a.judge(w, func() []uint16 { return a.listeners.Of(w.process.PID()) })
		a.tell(w, w.observed || !w.met && a.selector.NeedsPorts() && w.process.PID() != a.cfg.Self)
		if w.announced != eventv1.ProcessEvent_KIND_UNSPECIFIED {
			a.announce(w)
		}
		a.yield(w)
	}
	if a.selector.NeedsPorts() {
		a.watchPorts()
	}
	a.flushEvents()
}

// watchPorts decides again about processes that have begun to listen on a port that a rule names.
func (a *Agent) watchPorts() {
	for _, pid := range a.listeners.New(a.pids, a.selector.WantsPort) {
		w := a.watched[pid]
		a.judge(w, func() []uint16 { return a.listeners.Of(pid) })
		a.tell(w, w.observed)
		a.announce(w)
	}
}

// pids calls yield with the id of each process that lives.
func (a *Agent) pids(yield func(uint32) bool) {
	for pid, w := range a.watched {
		if !w.process.Ended() && !yield(pid) {
			return
		}
	}
}

// judge decides whether a process is observed.
func (a *Agent) judge(w *watched, listening func() []uint16) {
	d := sel.Decision{}
	if w.process.PID() != a.cfg.Self {
		d = a.selector.Match(w.process.Info, listening)
	}
	w.observed, w.sdk = d.Observe, d.SDK
}

// tell brings the kernel to observe a process or not. Threads hand their context to the client exchanges they make, except in Go,
// where a thread serves many requests in turns and goroutines take the place of threads.
func (a *Agent) tell(w *watched, observe bool) {
	if observe {
		a.learnGo(w)
	}
	v := kern.Verdict{
		Observe: observe, Threads: observe && w.process.Info.GetLanguage() != eventv1.Language_LANGUAGE_GO, TLS: !w.looked.IsZero(),
		Goroutines: w.goroutines,
	}
	if w.process.Ended() || w.told != nil && v == *w.told {
		return
	}
	if err := a.kernel.Decide(w.process.PID(), v); err != nil {
		a.cfg.Log.Debug("verdict not applied", "pid", w.process.PID(), "error", err)
		return // the map is full; what is not selected is dropped here instead
	}
	became := observe && w.told != nil && !w.told.Observe
	w.told = &v
	if became {
		a.lookInto(w)
	}
}

// forget takes the verdict on a process that has ended out of the kernel. The kernel does so itself, unless the process ended while
// the verdict was on its way.
func (a *Agent) forget(w *watched) {
	if w.told == nil {
		return
	}
	w.told = nil
	if err := a.kernel.Forget(w.process.PID()); err != nil {
		a.cfg.Log.Debug("verdict not taken back", "pid", w.process.PID(), "error", err)
	}
}

// announce publishes whether a process is observed, if that is news.
func (a *Agent) announce(w *watched) {
	kind := eventv1.ProcessEvent_KIND_FOUND
	switch {
	case w.process.PID() == a.cfg.Self:
		return
	case w.observed:
		kind = eventv1.ProcessEvent_KIND_INSTRUMENTED
	case w.announced == eventv1.ProcessEvent_KIND_INSTRUMENTED:
		kind = eventv1.ProcessEvent_KIND_GONE
	case w.announced == eventv1.ProcessEvent_KIND_GONE:
		return
	}
	a.event(w, kind)
}

// leave publishes that a process has ended, if it was ever announced.
func (a *Agent) leave(w *watched) {
	if w.announced != eventv1.ProcessEvent_KIND_UNSPECIFIED {
		a.event(w, eventv1.ProcessEvent_KIND_GONE)
	}
}

func (a *Agent) event(w *watched, kind eventv1.ProcessEvent_Kind) {
	if kind != w.announced {
		a.publish(w, kind)
	}
}

func (a *Agent) publish(w *watched, kind eventv1.ProcessEvent_Kind) {
	w.announced = kind
	e := &eventv1.ProcessEvent{Kind: kind, TimeUnixNano: uint64(time.Now().UnixNano()), Process: w.process.Info}
	a.events = append(a.events, e)
	if a.eventSize += e.SizeVT(); a.eventSize >= maxEventBytes {
		a.flushEvents()
	}
}

// flushEvents sends process events.
func (a *Agent) flushEvents() {
	if n := len(a.events); n > 0 && a.sendProcesses(&eventv1.ProcessBatch{Events: a.events}, n) {
		a.metrics.processEvents.Add(float64(n))
	}
	a.events, a.eventSize = nil, 0
}

// nameContainers tells of processes what their containers are called, once that is known; also of those in the batch at hand.
func (a *Agent) nameContainers() {
	answers := a.cfg.Containers.Answers()
	if len(answers) == 0 {
		return
	}
	for _, w := range a.watched {
		c := answers[w.process.Info.GetContainerId()]
		if c == nil {
			continue
		}
		a.table.Contain(w.process, c)
		a.batch.Replace(&w.slot, w.process.Info)
		if w.announced == eventv1.ProcessEvent_KIND_INSTRUMENTED || w.announced == eventv1.ProcessEvent_KIND_FOUND {
			a.publish(w, w.announced)
		}
	}
}

// sendProcesses sends n records about processes. They matter less than exchanges, so they go when the spool is half full.
func (a *Agent) sendProcesses(m *eventv1.ProcessBatch, n int) bool {
	if a.spool.size() > a.cfg.SpoolBytes/2 {
		a.outbox.processSeq++
		a.losses.add("spool_process", n)
		return false
	}
	if err := a.outbox.processes(m); err != nil {
		a.cfg.Log.Error("processes not encoded", "error", err)
		a.losses.add("unencoded_process", n)
		return false
	}
	return true
}

// sweep forgets processes that ended a while ago, and finds out what records that were lost would have told.
func (a *Agent) sweep() {
	if a.doubtful {
		a.doubtful = false
		a.table.Verify(func(p *proc.Process) { a.meet(p) })
	}
	a.table.Sweep(func(p *proc.Process) {
		if w := a.watched[p.PID()]; w != nil {
			a.leave(w)
			a.forget(w)
		}
	})
	for pid, w := range a.watched {
		switch info := w.process.Info; {
		case w.process.Ended() && a.table.Get(pid) != w.process:
			delete(a.watched, pid)
			a.recent.forget(pid)
		case info.GetContainerId() != "" && info.GetContainer() == nil:
			a.cfg.Containers.Of(info.GetContainerId(), info.GetCgroup()) // its runtime may answer now
		}
	}
}
