// SPDX-License-Identifier: Apache-2.0

// Package exporter hands what the router has laid out to back ends: OTLP over HTTP, OTLP over gRPC, and a page for
// Prometheus to scrape.
//
// Every destination has a stream and a durable consumer, so that what waits for a dead back end waits on disk and delays
// nobody else. A message is acknowledged when the back end has taken it. Data that a back end will never take goes to the
// dead letters; anything else, a wrong password included, is tried until it works. OTLP is forwarded byte for byte. Several
// processes share the work of a destination. Where deltas are added up, for a Prometheus page and remote write, each has
// some of the shards: a page shows the sums of those.
package exporter

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/contract"
	configv1 "github.com/busbar/busbar/contract/config/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/exporter/internal/dest"
)

// service is the name of this one in subjects and headers.
const service = "exporter"

// Config is what an operator says about one exporter process; what users say is in resources.
type Config struct {
	Bus      bus.Config // Name and Metrics are filled in when empty
	Root     subject.Root
	Node     string   // the machine, in heartbeats
	Instance string   // unique among the exporters of one bus
	Paths    []string // files and folders with resources, watched
	// Destinations run besides those that resources declare.
	Destinations []Destination
	Heartbeat    time.Duration // between two; the same for all services of a bus
	Admin        *admin.Admin  // takes readiness and metrics; nil for none
	Log          *slog.Logger
}

// Default returns the configuration of a process on a bus at the usual place, without destinations.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Config{
		Bus:       bus.Config{URL: "nats://127.0.0.1:4222"},
		Root:      subject.DefaultRoot,
		Node:      host,
		Instance:  host + "-" + strconv.Itoa(os.Getpid()),
		Heartbeat: fleetv1.Interval,
		Log:       slog.Default(),
	}
}

// Run exports until ctx ends; it then lets attempts under way end, for a few seconds, hands back what it has not begun,
// and returns nil. It returns an error when the bus cannot be reached, resources have faults at the start, or a required
// destination cannot be opened. A back end that fails is no error: it shows in the metrics and heartbeats.
func Run(ctx context.Context, cfg Config) error {
	log := cfg.Log.With("service", service)
	cfg.Bus.Name = cmp.Or(cfg.Bus.Name, "busbar-"+service)
	if cfg.Admin != nil && cfg.Bus.Metrics == nil {
		cfg.Bus.Metrics = cfg.Admin.Registerer()
	}
	b, err := bus.Connect(ctx, cfg.Bus, log)
	if err != nil {
		return err
	}
	defer b.Close()
	if cfg.Admin != nil {
		defer cfg.Admin.Check(service, b.Ready)()
	}
	manager := &dest.Manager{
		Bus: b, Root: cfg.Root, Instance: cfg.Instance, UserAgent: contract.UserAgent + run.Version(), Log: log, Metrics: dest.NewMetrics(cfg.Bus.Metrics), Interval: cfg.Heartbeat,
	}
	if cfg.Admin != nil {
		defer cfg.Admin.Show("destinations", func() any { return manager.Statuses() })()
	}
	refusal := new(config.Refusal)
	wanted := make(chan map[string]dest.Wanted)
	var g run.Group
	g.Add("destinations", func(ctx context.Context) error { return manager.Run(ctx, wanted) })
	g.Add("resources", func(ctx context.Context) error { return cfg.watch(ctx, log, cfg.Bus.Metrics, refusal, wanted) })
	g.Add("heartbeat", func(ctx context.Context) error {
		return b.Beat(ctx, cfg.Root.Beat(service, cfg.Instance), cfg.Heartbeat, cfg.beat(manager, refusal, time.Now()))
	})
	return g.Run(ctx)
}

// watch says which destinations are wanted, now and after each change of the resources.
func (c Config) watch(ctx context.Context, log *slog.Logger, reg prometheus.Registerer, refusal *config.Refusal, wanted chan<- map[string]dest.Wanted) error {
	apply := func(set *config.Set) {
		select {
		case wanted <- c.wanted(set):
		case <-ctx.Done():
		}
	}
	if len(c.Paths) == 0 {
		apply(new(config.Set))
		<-ctx.Done()
		return nil
	}
	w := &config.Watcher{Paths: c.Paths, Kinds: configv1.Kinds(), Check: c.check, Apply: apply, Log: log, Metrics: reg, Refusal: refusal}
	return w.Run(ctx)
}

// wanted is what shall run, of a set that passed check.
func (c Config) wanted(set *config.Set) map[string]dest.Wanted {
	want := make(map[string]dest.Wanted)
	for _, d := range c.Destinations {
		want[d.Name] = dest.Wanted{Settings: d.settings, Required: d.Required}
	}
	for _, r := range set.Of(configv1.KindDestination) {
		settings, _ := dest.Read(r)
		want[r.Name] = dest.Wanted{Settings: settings, Retention: retention(r, func(string, string) {})}
	}
	return want
}

// retention is how the stream of a declared destination is kept.
func retention(r *config.Resource, report func(path, reason string)) configv1.Retention {
	spec, _ := r.Spec.(*configv1.Destination) // nil has no settings
	return spec.Retention(report)
}

// beat returns what makes the payload of a heartbeat.
func (c Config) beat(m *dest.Manager, refusal *config.Refusal, started time.Time) func() []byte {
	b := fleetv1.Beacon{Service: service, Instance: c.Instance, Node: c.Node, Version: run.Version(), Started: started}
	return func() []byte {
		return b.Payload(func(h *fleetv1.Heartbeat) {
			h.Degraded, h.Dropped, h.Facts = m.Degraded(), m.Metrics.Losses(), map[string]string{}
			h.Destinations = m.Names()
			h.Degraded = append(h.Degraded, refusal.Degraded()...)
			for _, s := range m.Statuses() {
				h.Facts["destination."+s.Name] = string(s.State)
				h.States = append(h.States, &fleetv1.DestinationState{
					Name: s.Name, State: string(s.State), SinceUnixNano: nanoseconds(s.Since), Cause: s.Cause,
					PendingMessages: s.Pending, OldestUnixNano: nanoseconds(s.Oldest), Leaving: s.Leaving,
				})
			}
		})
	}
}

// nanoseconds is a time as heartbeats have it, 0 for none.
func nanoseconds(t *time.Time) uint64 {
	if t == nil {
		return 0
	}
	return uint64(t.UnixNano()) //nolint:gosec // after 1970
}
