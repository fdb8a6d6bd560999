// SPDX-License-Identifier: Apache-2.0

// Package enricher turns what probes saw into OpenTelemetry data: it names services and routes, makes spans of each exchange,
// and counts all of them in histograms before anything is sampled, so that rates are exact.
//
// A batch is acknowledged after everything made from it is stored, under ids derived from it, so that a redelivery is
// stored once. What cannot be read becomes a dead letter; a single exchange that makes no sense is left out and counted.
// Replicas share the work in any number. What they learn about the shape of paths is on the bus, so that all name a path alike and none
// forgets it; the addresses that metrics name are agreed on in a store that they may share.
package enricher

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher/internal/budget"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/kube/watch"
	"github.com/busbar/busbar/services/enricher/internal/learned"
	"github.com/busbar/busbar/services/enricher/internal/note"
	"github.com/busbar/busbar/services/enricher/internal/origin"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/pick"
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/shared"
	"github.com/busbar/busbar/services/enricher/internal/signals"
	"github.com/busbar/busbar/services/enricher/internal/usage"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// Service is the name of the service on the bus.
const Service = "enricher"

// ackWait is how long the batches of an enricher that was killed wait for another. A batch takes milliseconds.
const ackWait = 10 * time.Second

// Config is what an enricher needs to know. Begin with Default.
type Config struct {
	Bus      bus.Config
	Root     subject.Root
	Paths    []string // files and folders with resources, watched for changes
	Tenant   string   // of all that probes see
	Node     string   // name of the machine, for the heartbeat
	Instance string   // unique among the replicas
	Kube     Kube     // off, if it is empty
	// Workers is how many batches are worked on at the same time; most of them wait for the bus.
	Workers int
	// Store is the address of a Redis server by which the replicas agree on the peers that metrics name, see kit/store/redis. Without one each
	// decides for itself.
	Store string
	Admin *admin.Admin // metrics and readiness of the process; nil for none
	Log   *slog.Logger
}

// Default returns the settings of an enricher on this machine. The bus and the resources are up to the caller.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Config{
		Bus:      bus.Config{Name: "busbar-" + Service},
		Root:     subject.DefaultRoot,
		Tenant:   subject.DefaultTenant,
		Node:     host,
		Instance: host + "-" + strconv.Itoa(os.Getpid()),
		Workers:  max(4, runtime.GOMAXPROCS(0)),
		Log:      slog.Default(),
	}
}

// Check returns what is wrong with RouteRules and Telemetry, and with what Instrumentation says about Kubernetes.
func Check(set *config.Set) config.Faults {
	_, faults := book(set)
	_, more := telemetry(set)
	_, selectors := pick.Compile(set)
	return slices.Concat(faults, more, selectors)
}

// Run enriches until ctx ends; then it finishes what it has begun and returns nil. It returns an error if the bus cannot be
// reached at the start or the resources have faults.
func Run(ctx context.Context, cfg Config) error {
	e := newEnricher(cfg)
	closeStore, err := e.openStore()
	if err != nil {
		return err
	}
	defer closeStore()
	b, err := bus.Connect(ctx, e.Bus, e.Log)
	if err != nil {
		return err
	}
	defer b.Close()
	e.bus = b
	if cfg.Admin != nil {
		defer cfg.Admin.Check(Service, b.Ready)()
	}
	for _, s := range []subject.Stream{e.Root.RawStream(), e.Root.OTLPStream(), e.Root.KubeStream(), e.Root.RouteStream(), e.Root.DeadStream()} {
		if err := b.Provision(ctx, bus.StreamSpec(s)); err != nil {
			return err
		}
	}
	if e.watcher, err = e.newWatcher(); err != nil {
		return err
	}
	var group run.Group
	group.Add("resources", e.watch)
	group.Add("cluster", e.follow)
	group.Add("routes", e.learn)
	if e.sets != nil {
		group.Add("store", e.agree)
	}
	if e.watcher != nil {
		group.Add("kube", e.watchCluster)
		group.Add("selections", e.selectContainers)
	}
	group.Add("batches", e.consume)
	group.Add("heartbeat", e.beat)
	group.Add("replicas", e.lookout)
	return group.Run(ctx)
}

type enricher struct {
	Config
	bus        *bus.Bus
	metrics    *metrics
	ledger     *origin.Ledger
	routes     *route.Routes
	signals    atomic.Pointer[signals.Book]
	peers      *peer.Peers
	sets       *shared.Sets // nil without a store
	encoders   sync.Pool    // of *otlp.Encoder, one for each worker at work
	usage      usage.Encoder
	cluster    *kube.Directory
	watcher    *watch.Watcher // nil when this one may not
	selections *pick.Publisher
	waiting    *kube.Waiting
	known      chan struct{} // closed when all that the bus has about the cluster has been read
	learned    *learned.Keeper
	recalled   chan struct{} // closed when all that the bus has about routes has been read
	ready      chan struct{} // closed when the resources are in force
	start      sync.Once     // closes it
	refusal    config.Refusal
}

func newEnricher(cfg Config) *enricher {
	e := &enricher{Config: cfg, ledger: origin.NewLedger(), cluster: kube.NewDirectory(), known: make(chan struct{}), recalled: make(chan struct{}), ready: make(chan struct{})}
	e.waiting = kube.NewWaiting(e.cluster)
	e.Log = cfg.Log.With(slog.String("service", Service))
	e.Tenant = cmp.Or(cfg.Tenant, subject.DefaultTenant)
	if cfg.Admin != nil {
		e.Bus.Metrics = cfg.Admin.Registerer()
	}
	e.metrics = newMetrics(e.Bus.Metrics, e.ledger, e.cluster, e.waiting)
	e.routes = route.New(&route.Book{})
	e.learned = &learned.Keeper{Root: e.Root, Routes: e.routes, Source: Service, Log: e.Log}
	registerRoutes(e.Bus.Metrics, e.learned)
	names := ident.NewBook(e.cluster, ident.Producer{Name: "busbar", Version: run.Version()}, otlp.Resource)
	parties := who.New(e.cluster)
	notes := note.NewBook(e.Log, e.metrics.annotations.Inc)
	series := budget.New(nil)
	plain, _ := signals.NewBook(nil)
	e.signals.Store(plain)
	e.encoders.New = func() any {
		encoder := otlp.NewEncoder(e.routes, e.peers, names)
		encoder.Who, encoder.Budget, encoder.Signals, encoder.Notes = parties, series, &e.signals, notes
		return encoder
	}
	e.selections = pick.NewPublisher()
	registerSelections(e.Bus.Metrics, e.selections)
	e.usage = usage.Encoder{By: names.By, Identify: func(o *eventv1.Origin, p *eventv1.Process) ident.Identity {
		id := names.Machine(o).Of(p).Identity
		if e.signals.Load().For(id.Namespace, id.Name).Beyla {
			id.Attributes = ident.As("beyla", id.Attributes)
		}
		return id
	}}
	return e
}

// watch keeps RouteRules, Telemetry and the Kubernetes selectors of Instrumentation in force.
func (e *enricher) watch(ctx context.Context) error {
	var routes *route.Book // passed from check to apply, which follows it
	var made *signals.Book
	var selectors *pick.Selectors
	check := func(set *config.Set) config.Faults {
		var faults, more, others config.Faults
		routes, faults = book(set)
		made, more = telemetry(set)
		selectors, others = pick.Compile(set)
		return slices.Concat(faults, more, others)
	}
	apply := func(*config.Set) {
		e.routes.Use(routes)
		e.signals.Store(made)
		e.selections.Use(selectors)
		e.start.Do(func() { close(e.ready) })
	}
	w := config.Watcher{Paths: e.Paths, Kinds: configv1.Kinds(), Check: check, Apply: apply, Log: e.Log, Metrics: e.Bus.Metrics, Refusal: &e.refusal}
	return w.Run(ctx)
}

// telemetry compiles the Telemetry resources of a set.
func telemetry(set *config.Set) (*signals.Book, config.Faults) {
	resources := set.Of(configv1.KindTelemetry)
	specs := make([]*configv1.Telemetry, len(resources))
	for i, r := range resources {
		specs[i], _ = r.Spec.(*configv1.Telemetry)
	}
	b, problems := signals.NewBook(specs)
	var faults config.Faults
	for i, r := range resources {
		for _, p := range problems[i] {
			faults = append(faults, r.Fault("spec."+p.Path, "%s", p.Text))
		}
	}
	return b, faults
}

// book compiles the RouteRules of a set.
func book(set *config.Set) (*route.Book, config.Faults) {
	resources := set.Of(configv1.KindRouteRules)
	rules := make([]*configv1.RouteRules, len(resources))
	for i, r := range resources {
		rules[i], _ = r.Spec.(*configv1.RouteRules)
	}
	b, problems := route.NewBook(rules)
	var faults config.Faults
	for i, r := range resources {
		for _, p := range problems[i] {
			faults = append(faults, r.Fault("spec."+p.Path, "%v", p.Err))
		}
	}
	return b, faults
}

// learn shares with other enrichers what the routes of services look like.
func (e *enricher) learn(ctx context.Context) error {
	e.learned.Bus = e.bus
	return e.learned.Run(ctx, func() { close(e.recalled) })
}

func (e *enricher) consume(ctx context.Context) error {
	for _, first := range []chan struct{}{e.ready, e.known, e.recalled} {
		select {
		case <-first:
		case <-ctx.Done():
			return nil
		}
	}
	return e.bus.Consume(ctx, bus.ConsumerSpec{
		Stream:      e.Root.RawStream().Name,
		Durable:     Service,
		Filters:     []string{e.family("exchange") + ">", e.family("process") + ">"},
		DeadSubject: func(reason string) string { return e.Root.Dead(Service, reason) },
		Workers:     e.Workers,
		AckWait:     ackWait,
	}, e.enrich)
}

// family is what subjects of a kind of raw events begin with.
func (e *enricher) family(kind string) string { return string(e.Root) + ".raw." + kind + "." }

// lookout listens for other enrichers: batches that they read are no gaps.
func (e *enricher) lookout(ctx context.Context) error {
	own := e.Root.Beat(Service, e.Instance)
	others := own[:len(own)-len(subject.Token(e.Instance))] + "*"
	return e.bus.Subscribe(ctx, others, func(d *bus.Delivery) {
		if d.Subject != own {
			e.ledger.Shared()
		}
	})
}
