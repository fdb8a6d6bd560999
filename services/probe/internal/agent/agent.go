// SPDX-License-Identifier: Apache-2.0

// Package agent is the way of a record through the probe: read from the kernel, joined with its process, decoded into a batch,
// encoded, and handed to the bus.
//
// Everything but the last step happens on the goroutine that reads the ring, so the state needs no lock and an exchange costs well
// under a microsecond. That goroutine never waits for the bus: between the two lies a bounded spool. Whatever is lost on the way is
// counted by reason and shows in the batches, which are numbered without gaps when nothing was lost.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/metric"
	"github.com/busbar/busbar/services/probe/internal/container"
	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sel"
	"github.com/busbar/busbar/services/probe/internal/usage"
)

// Kernel is what the agent needs of the kernel's side; *kern.Kern is one. A process about which nothing was decided is observed
// without inheritance of context between its threads' exchanges.
type Kernel interface {
	Read(ctx context.Context, sink kern.Sink) error
	Decide(tgid uint32, v kern.Verdict) error
	Forget(tgid uint32) error
	// Drops and Blemishes count records that were lost, and that are poorer than they should be, by reason; they only grow.
	Drops() map[string]uint64
	Blemishes() map[string]uint64
}

// Hooks are asked to hook the libraries of a process, soon. Look must not wait.
type Hooks interface{ Look(pid uint32) }

// Config says how an Agent works.
type Config struct {
	Node       string            // name of the machine
	Run        string            // random id of this run
	Root       subject.Root      // of what is published
	Self       uint32            // process that is never observed
	SpoolBytes int               // kept while the bus is away
	Hooks      Hooks             // of libraries; nil: none
	Host       *eventv1.Host     // in every batch
	Containers *container.Finder // run by the caller; nil: containers have no names
	Measure    time.Duration     // how often it is measured what processes use; zero: never
	Proc       proc.Config
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

const (
	flushAfter    = 200 * time.Millisecond // age at which a batch is sent, however small
	flushNameless = time.Second            // the same, while the name of a container is being asked for
	tickEvery     = time.Second            // clocks, counters, ports
	sweepEvery    = 10 * time.Second       // processes that ended
	kickEvery     = 20 * time.Millisecond  // messages of this time are sent together, which spares wake-ups
	maxEventBytes = 128 << 10              // process events of one message
	maxEnv        = 2048                   // bytes of an environment that an exec record holds at most
)

// Agent carries records from the kernel to the bus. Run it once.
type Agent struct {
	cfg     Config
	kernel  Kernel
	spool   *spool
	losses  *losses
	metrics *metrics
	status  atomic.Pointer[Status]
	next    atomic.Pointer[sel.Selector] // to be put in force by the reading goroutine
	chosen  atomic.Pointer[sel.Chosen]   // the same
	dials   chan []dial                  // found by a look at connections; holds the only one
	samples chan measured                // the same of what processes use
	lookers sync.WaitGroup               // look at connections and measure

	// The rest belongs to the reading goroutine.
	table      *proc.Table
	watched    map[uint32]*watched
	recent     recent
	selector   *sel.Selector
	listeners  *sel.Listeners
	batch      *decode.Batch
	opened     time.Time // when the batch got its first exchange
	events     []*eventv1.ProcessEvent
	eventSize  int // of events, marshalled
	outbox     outbox
	clock      decode.Clock
	ticked     time.Time
	swept      time.Time
	kicked     time.Time
	exchanges  uint64
	encrypted  uint64
	batches    uint64
	meter      *usage.Meter
	measured   time.Time // when what processes use was last measured
	measuring  bool
	looking    bool   // at connections
	misled     uint64 // process records that the kernel had lost at the last tick
	doubtful   bool   // some were lost since the processes were verified
	goPrograms goPrograms
}

// Status is what an agent says about itself, once a second.
type Status struct {
	Processes, Observed int
	Exporting           int // of those observed, how many export telemetry themselves
	LostGo              int // and of how many the goroutines are not followed
	Exchanges, Batches  uint64
	Encrypted           uint64 // of the exchanges: connections whose plaintext was not seen
	SpoolBytes          int
	Selected, OptedOut  int // containers that a Kubernetes selector matches, and that ask not to be observed
	Selectors           int // about Kubernetes, in the resources
	Unresolved          int // of these, how many nobody has tried
	Dropped             map[string]uint64
}

// New returns an agent that observes what the selector selects, and looks at the processes that run now. The kernel's hooks are
// attached by then: what starts meanwhile is in their records.
func New(cfg Config, kernel Kernel, out Publisher, selector *sel.Selector) (*Agent, error) {
	cfg.Proc.Containers = cfg.Containers.Of
	table, err := proc.New(cfg.Proc)
	if err != nil {
		return nil, err
	}
	clock, err := decode.Now()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, kernel: kernel, losses: newLosses(metric.NewDrops(cfg.Metrics)), metrics: newMetrics(cfg.Metrics),
		table: table, watched: map[uint32]*watched{}, selector: selector, listeners: sel.NewListeners(cfg.Proc.Root),
		goPrograms: goPrograms{}, batch: decode.NewBatch(), clock: clock, ticked: time.Now(), swept: time.Now(),
	}
	a.dials, a.samples = make(chan []dial, 1), make(chan measured, 1)
	a.meter, a.measured = usage.New(cfg.Proc.Root), a.ticked
	a.spool = newSpool(cfg.SpoolBytes, out, a.losses.addMessage)
	a.outbox = newOutbox(cfg, a.spool, a.losses)
	if err := table.Scan(); err != nil {
		return nil, err
	}
	a.meetAll()
	a.publishStatus()
	return a, nil
}

// Select puts a selector in force, for running processes too, within a moment. It may be called from any goroutine.
func (a *Agent) Select(s *sel.Selector) { a.next.Store(s) }

// Choose puts in force what is known about containers, as Select does.
func (a *Agent) Choose(c *sel.Chosen) { a.chosen.Store(c) }

// Status returns the state of a second ago at most. It may be called from any goroutine.
func (a *Agent) Status() Status { return *a.status.Load() }

// Run carries records until ctx ends, then sends what it has and returns when the bus has it, or after a few seconds.
func (a *Agent) Run(ctx context.Context) error {
	spooled, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.spool.run(spooled)
	}()
	err := a.kernel.Read(ctx, a)
	a.lookers.Wait()
	a.takeSamples()
	a.flush()
	a.tick(time.Now())
	stop()
	<-done
	a.publishStatus()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read kernel records: %w", err)
	}
	return nil
}

// Exchange takes a record of the kernel; see kern.Sink.
func (a *Agent) Exchange(e *kern.Exchange, request, response []byte) {
	w := a.recent.find(e.TGID, a.watched)
	if w == nil {
		w = a.meet(a.table.Find(e.TGID))
	}
	if !w.met {
		a.firstTraffic(w, e)
	}
	if !w.observed {
		return // selected by nobody, which is no loss
	}
	if a.batch.Len() == 0 {
		a.opened = time.Now()
	}
	switch a.batch.Add(e, request, response, w.process.Info, &w.slot, a.clock) {
	case decode.Unparsed:
		a.losses.add("unparsed", 1)
		return
	case decode.Own:
		return // nor is this
	case decode.Added:
	}
	a.exchanges++
	a.notice(w, e)
	if e.Protocol == kern.TLS {
		a.encrypted++
		a.missPlaintext(w)
	}
	if a.batch.Full() {
		a.flush()
		a.upkeep(time.Now())
	}
}

// Process takes a record of the kernel; see kern.Sink.
func (a *Agent) Process(p *kern.Process, file, _, env []byte) {
	switch p.Event {
	case kern.Exec:
		a.meet(a.table.Exec(proc.Exec{
			PID: p.TGID, Parent: p.Parent, BootNanos: p.Time, StartNanos: p.Started, Filename: file, Command: []byte(p.Comm()),
			Environment: env, EnvCut: len(env) >= maxEnv,
		}))
	case kern.Fork:
		a.meetChild(a.table.Fork(proc.Fork{PID: p.TGID, Parent: p.Parent, StartNanos: p.Started}), p.Parent)
	case kern.NeedsTLS:
		if w := a.watched[p.TGID]; w != nil {
			a.lookInto(w)
		}
	case kern.Exit:
		a.table.Exit(p.TGID)
		if w := a.watched[p.TGID]; w != nil {
			a.leave(w)
			a.forget(w)
		}
	}
}

// Idle is called when there is nothing to read; see kern.Sink.
func (a *Agent) Idle() {
	now := time.Now()
	if a.due(now) {
		a.flush()
	}
	a.upkeep(now)
}

// due tells whether the batch is to be sent, full or not.
func (a *Agent) due(now time.Time) bool {
	age := now.Sub(a.opened)
	return a.batch.Len() > 0 && age >= flushAfter && (age >= flushNameless || !a.cfg.Containers.Waiting())
}

// upkeep does what is done now and then.
func (a *Agent) upkeep(now time.Time) {
	if s := a.next.Swap(nil); s != nil {
		a.selector = s.With(a.selector.Chosen())
		a.listeners = sel.NewListeners(a.cfg.Proc.Root)
		a.reconsider(func(*watched) bool { return true })
	}
	if c := a.chosen.Swap(nil); c != nil {
		before := a.selector.Chosen()
		a.selector = a.selector.With(c)
		a.reconsider(func(w *watched) bool { return !c.Agrees(before, w.process.Info.GetContainerId()) })
	}
	if now.Sub(a.ticked) >= tickEvery {
		a.tick(now)
	}
	if now.Sub(a.swept) >= sweepEvery {
		a.swept = now
		a.sweep()
		a.lookAtDials(now)
	}
	a.measure(now)
	a.takeDials()
	a.nameContainers()
	a.takeSamples()
	if a.outbox.unsent && now.Sub(a.kicked) >= kickEvery {
		a.outbox.unsent, a.kicked = false, now
		a.spool.kick()
	}
}

func (a *Agent) tick(now time.Time) {
	a.ticked = now
	if clock, err := decode.Now(); err == nil {
		a.clock = clock
	}
	drops := a.kernel.Drops()
	if n := drops[kern.LostProcessRecord]; n != a.misled {
		a.misled, a.doubtful = n, true
	}
	a.losses.addKernel(drops)
	a.metrics.blemish(a.kernel.Blemishes())
	if a.selector.NeedsPorts() {
		a.watchPorts()
	}
	a.flushEvents()
	a.publishStatus()
}

// flush sends the batch.
func (a *Agent) flush() {
	if a.batch.Len() == 0 {
		return
	}
	a.nameContainers()
	n := a.batch.Len()
	if err := a.outbox.exchanges(a.batch); err != nil {
		a.cfg.Log.Error("batch not encoded", "error", err)
		a.losses.add("unencoded", n)
	}
	a.batches++
	a.batch.Reset()
}

func (a *Agent) publishStatus() {
	s := &Status{
		Processes: a.table.Len(), Exchanges: a.exchanges, Encrypted: a.encrypted, Batches: a.batches, SpoolBytes: a.spool.size(), Dropped: a.losses.snapshot(),
	}
	s.Selected, s.OptedOut = a.selector.Chosen().Containers()
	s.Unresolved, s.Selectors = a.selector.Unresolved()
	for _, w := range a.watched {
		if w.met && w.observed && !w.process.Ended() {
			s.Observed++
			if w.exports != 0 {
				s.Exporting++
			}
			if w.lost {
				s.LostGo++
			}
		}
	}
	before := a.status.Swap(s)
	if before == nil {
		before = &Status{}
	}
	a.metrics.exchanges.Add(float64(s.Exchanges - before.Exchanges))
	a.metrics.batches.Add(float64(s.Batches - before.Batches))
	a.metrics.processes.Set(float64(s.Processes))
	a.metrics.observed.Set(float64(s.Observed))
	a.metrics.exporting.Set(float64(s.Exporting))
	a.metrics.selected.Set(float64(s.Selected))
	a.metrics.optedOut.Set(float64(s.OptedOut))
	a.metrics.spool.Set(float64(s.SpoolBytes))
}
