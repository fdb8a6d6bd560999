// SPDX-License-Identifier: Apache-2.0

// Package router runs the pipelines that users declare: it takes OpenTelemetry data from the bus through match, filter,
// transform, redact and sample to a stream of each destination. It is the only place where data is dropped on purpose, and it
// counts what it drops.
//
// A message is acknowledged after everything made from it is stored, under ids derived from it, so that a redelivery
// is stored once. Bytes that no rule looks into pass as they came. Where several pipelines leave a message as it was,
// a destination of theirs gets it once. What cannot be decoded still reaches the destinations of pipelines that need not
// look inside; for the others it becomes a dead letter. Replicas share the work in any number.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/pipeline"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// Service is the name of the service on the bus.
const Service = "router"

// Config is what a router needs to know. Begin with Default.
type Config struct {
	Bus  bus.Config
	Root subject.Root
	// Paths are files and folders with resources, watched for changes. Without any, and without a Pipeline among them,
	// every destination gets everything it takes.
	Paths []string
	// Implicit are destinations besides the declared ones. They get everything, whatever pipelines say.
	Implicit []Route
	Node     string // name of the machine, for the heartbeat
	Instance string // unique among the replicas
	// Store is the address of a Redis server that the replicas share for limits, see kit/store/redis. Without one, limits hold for
	// each replica.
	Store string
	// Workers is how many messages are worked on at the same time; most of them wait for the bus.
	Workers   int
	Heartbeat time.Duration // between two; the same for all services of a bus
	Admin     *admin.Admin  // metrics and readiness of the process; nil for none
	Log       *slog.Logger
}

// Route is a way without conditions to a destination; no signals mean all.
type Route struct {
	Destination string
	Signals     []subject.Signal
}

// Default returns the settings of a router on this machine. The bus and the resources are up to the caller.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Config{
		Bus:       bus.Config{Name: "busbar-" + Service},
		Root:      subject.DefaultRoot,
		Node:      host,
		Instance:  host + "-" + strconv.Itoa(os.Getpid()),
		Heartbeat: fleetv1.Interval,
		Workers:   max(8, 2*runtime.GOMAXPROCS(0)),
		Log:       slog.Default(),
	}
}

// Check returns what is wrong with pipelines: with each of them, and with the destinations they name.
func Check(set *config.Set) config.Faults {
	_, faults := plan.Compile(set, nil, plan.Environment{})
	return faults
}

// Run routes until ctx ends; then it finishes what it has begun and returns nil. It returns an error if the bus cannot be
// reached at the start or the resources have faults.
func Run(ctx context.Context, cfg Config) error {
	r := &router{Config: cfg, ready: make(chan struct{}), absent: newAbsence(patience * cfg.Heartbeat)}
	r.Log = cfg.Log.With(slog.String("service", Service))
	if cfg.Admin != nil {
		r.Bus.Metrics = cfg.Admin.Registerer()
	}
	r.metrics = newMetrics(r.Bus.Metrics)
	closeStore, err := r.openStore()
	if err != nil {
		return err
	}
	defer closeStore()
	b, err := bus.Connect(ctx, r.Bus, r.Log)
	if err != nil {
		return err
	}
	defer b.Close()
	r.bus = b
	if cfg.Admin != nil {
		defer cfg.Admin.Check(Service, b.Ready)()
	}
	if err := b.Provision(ctx, bus.StreamSpec(r.Root.OTLPStream()), bus.StreamSpec(r.Root.DeadStream())); err != nil {
		return err
	}
	var group run.Group
	group.Add("resources", r.watch)
	group.Add("streams", r.retry)
	group.Add("messages", r.consume)
	group.Add("heartbeat", r.beat)
	defer func() { r.retire(r.plan.Load()) }()
	return group.Run(ctx)
}

type router struct {
	Config
	bus     *bus.Bus
	metrics *metrics
	limiter *limit.Limiter
	seen    average
	plan    atomic.Pointer[plan.Plan]
	ready   chan struct{} // closed when there is a plan
	start   sync.Once     // closes it

	next      atomic.Pointer[plan.Plan] // asked for and not in force yet
	advancing sync.Mutex

	absent  *absence
	refusal config.Refusal
	missing atomic.Pointer[string] // why streams of destinations could not be made; nil if they could
}

// watch keeps the plan that the resources ask for in force.
func (r *router) watch(ctx context.Context) error {
	always := Routes(r.Implicit).unconditional()
	var next *plan.Plan                                     // passed from check to apply, which follows it
	check := func(set *config.Set) (faults config.Faults) { //nolint:contextcheck // compiling is short and asks nobody
		next, faults = plan.Compile(set, always, r.environment())
		return faults
	}
	w := config.Watcher{
		Paths: r.Paths, Kinds: configv1.Kinds(), Check: check,
		Apply:   func(*config.Set) { r.apply(ctx, next) },
		Log:     r.Log,
		Metrics: r.Bus.Metrics,
		Refusal: &r.refusal,
	}
	return w.Run(ctx)
}

// apply puts a plan in force, at once if the streams of its destinations can be made.
func (r *router) apply(ctx context.Context, p *plan.Plan) {
	for _, s := range p.Skipped() {
		r.Log.Info("destination has no use for signals of pipeline", slog.String("pipeline", s.Pipeline),
			slog.String("destination", s.Destination), slog.Any("signals", s.Signals))
	}
	r.next.Store(p)
	r.advance(ctx)
}

// advance puts the next plan in force, if there is one and the streams of its destinations can be made. Until then the last
// one stays: a message is acknowledged when every destination has it, so a destination without a stream would stop all
// others, and what they have of it would come again and again. Messages in flight are finished by the plan they were begun with.
func (r *router) advance(ctx context.Context) {
	r.advancing.Lock()
	defer r.advancing.Unlock()
	p := r.next.Load()
	if p == nil {
		return
	}
	if err := r.provision(ctx, p); err != nil {
		r.Log.Error("streams of destinations cannot be made, the last plan stays in force", slog.Any("error", err))
		return
	}
	if err := p.Start(ctx); err != nil {
		r.Log.Error("processors cannot be started, the last plan stays in force", slog.Any("error", err))
		r.next.CompareAndSwap(p, nil)
		return
	}
	last := r.plan.Swap(p)
	if last != nil {
		r.forget(last, p)
	}
	r.next.CompareAndSwap(p, nil)
	r.retire(last)
	r.start.Do(func() { close(r.ready) })
	r.Log.Info("plan in force", slog.Int("pipelines", p.Pipelines()), slog.Any("destinations", p.Destinations()))
}

// forget leaves alone the streams that only the last plan used: whoever removes one does not want it made anew.
func (r *router) forget(last, p *plan.Plan) {
	for _, d := range last.Destinations() {
		if !slices.Contains(p.Destinations(), d) {
			r.bus.Forget(r.Root.OutStream(d).Name)
		}
	}
}

// advanceEvery is how often streams that could not be made are tried again.
const advanceEvery = 5 * time.Second

// retry tries again what apply could not do, until ctx ends.
func (r *router) retry(ctx context.Context) error {
	tick := time.NewTicker(advanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.advance(ctx)
			r.mend(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// provision makes the streams of the destinations of a plan.
func (r *router) provision(ctx context.Context, p *plan.Plan) error {
	var specs []bus.StreamSpec
	for _, d := range p.Destinations() {
		specs = append(specs, bus.StreamSpec(p.Stream(r.Root, d)))
	}
	err := r.bus.Provision(ctx, specs...)
	if err != nil {
		text := err.Error()
		r.missing.Store(&text)
	} else {
		r.missing.Store(nil)
	}
	return err
}

func (r *router) consume(ctx context.Context) error {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer r.lookout(ctx)()
	defer cancel()
	return r.bus.Consume(ctx, bus.ConsumerSpec{
		Stream:      r.Root.OTLPStream().Name,
		Durable:     Service,
		Filters:     []string{string(r.Root) + ".otlp.>"},
		DeadSubject: func(reason string) string { return r.Root.Dead(Service, reason) },
		Workers:     r.Workers,
		AckWait:     ackWait,
		// A message that waits for a limit is delivered and not acknowledged: it must take many of them to stop the others.
		MaxAckPending: maxWaiting,
	}, r.route)
}

// maxWaiting is how many messages may wait for limits, and fail, before nothing more is read until some have passed.
const maxWaiting = 8192

// ackWait is how long after the death of a router its messages go to the next one.
const ackWait = 10 * time.Second

// Reasons of dead letters.
const (
	reasonSubject   = "subject"   // not one that holds OpenTelemetry data
	reasonTooLarge  = "too_large" // for the server, as it came
	reasonPanic     = "panic"     // of a pipeline
	reasonProcessor = "processor" // a hosted one failed
)

// route takes one message through the plan in force.
func (r *router) route(ctx context.Context, d *bus.Delivery) error {
	parts, ok := r.Root.ParseOTLP(d.Subject)
	if !ok {
		return bus.Permanent(reasonSubject, fmt.Errorf("subject %q is not %s.otlp.<signal>.<tenant>.<namespace>.<service>", d.Subject, r.Root))
	}
	r.seen.saw(d.Items())
	p := r.enter()
	defer r.leave(p)
	res := p.Route(ctx, plan.Message{
		Subject: parts, ID: d.DerivedID(""), Again: d.Attempt > 1, Items: d.Items(), Data: d.Data, Only: only(d),
	})
	if res.Wait > 0 {
		r.keep(ctx, res)
		r.metrics.waits.Inc()
		return bus.Throttled(res.Wait, errOver)
	}
	lost, err := r.store(ctx, p, d, parts, res.Outputs)
	if err != nil {
		r.keep(ctx, res)
		return err
	}
	r.metrics.count(res, d.Items())
	for _, out := range lost {
		r.metrics.unstored(out.Destination, out.Items)
	}
	switch {
	case errors.Is(res.Failed, plan.ErrPanic):
		return bus.PermanentOf(strings.Join(res.FailedIn, ","), reasonPanic, res.Failed)
	case errors.Is(res.Failed, pipeline.ErrStep) && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(res.Failed, pipeline.ErrStep):
		return bus.PermanentOf(strings.Join(res.FailedIn, ","), reasonProcessor, res.Failed)
	case res.Failed != nil:
		return bus.PermanentOf(strings.Join(res.FailedIn, ","), bus.ReasonUndecodable, res.Failed)
	}
	return nil
}

// only returns the pipelines that a message is for which was a dead letter: those that had failed. The others have had it.
func only(d *bus.Delivery) []string {
	if part := d.Header(bus.HeaderPart); part != "" {
		return strings.Split(part, ",")
	}
	return nil
}

// publish stores what is made of a message.
func (r *router) publish(ctx context.Context, d *bus.Delivery, parts subject.OTLPParts, outputs []plan.Output) error {
	return r.bus.Publish(ctx, messages(r.Root, d, parts, outputs, "", Service)...)
}

// messages are what outputs are on the bus. Their ids are derived from the message they were made of, its parts and the
// prefix; source is who made what is not as it came.
func messages(root subject.Root, d *bus.Delivery, parts subject.OTLPParts, outputs []plan.Output, prefix, source string) []bus.Msg {
	shard := subject.Shard(parts.Tenant, parts.Namespace, parts.Service)
	kept := d.Headers()
	delete(kept, bus.HeaderPart)
	ours := maps.Clone(kept)
	ours[subject.HeaderSchema], ours[subject.HeaderSource] = parts.Signal.Schema(), source
	msgs := make([]bus.Msg, len(outputs))
	for i, out := range outputs {
		m := bus.Msg{Subject: root.Out(out.Destination, parts.Signal, shard), ID: d.DerivedID(prefix + out.Part)}
		if out.Data == nil {
			m.Header, m.Data, m.Encoding = kept, d.Raw(), d.Encoding()
		} else {
			m.Header, m.Data, m.Items = ours, out.Data, out.Items
		}
		msgs[i] = m
	}
	return msgs
}

// unpublished says what becomes of a message whose outputs could not be stored: it is delivered again, unless it never
// fits. A stream that has vanished is made anew.
func (r *router) unpublished(ctx context.Context, p *plan.Plan, err error) error {
	switch {
	case errors.Is(err, bus.ErrTooLarge):
		return bus.Permanent(reasonTooLarge, err)
	case errors.Is(err, bus.ErrNoStream):
		return errors.Join(err, r.provision(ctx, p))
	}
	return err
}
