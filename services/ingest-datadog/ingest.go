// SPDX-License-Identifier: Apache-2.0

// Package ingestdatadog takes what Datadog's Agents, tracing libraries, DogStatsD and API clients send, and puts it onto the bus as
// OpenTelemetry data. Of a client only its address is changed.
//
// A client gets its success after the bus has the data, or while that is away a queue on disk. DogStatsD, whose senders hear
// nothing, is added up for ten seconds first; a sender is never made to wait. What cannot be kept is counted by reason.
package ingestdatadog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/kit/metric"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/ingest-datadog/internal/dogstatsd"
	"github.com/busbar/busbar/services/ingest-datadog/internal/forward"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
	"github.com/busbar/busbar/services/ingest-datadog/internal/obfuscate"
	"github.com/busbar/busbar/services/ingest-datadog/internal/receive"
	"github.com/busbar/busbar/services/ingest-datadog/internal/report"
)

// Service is the name of the service on the bus.
const Service = "ingest-datadog"

// Config is what the service needs to know. Begin with Default. An empty address or path is no listener.
type Config struct {
	Bus  bus.Config
	Root subject.Root
	ingest.Settings
	Address      string // of the HTTP port: host:port
	Socket       string // path of a unix socket for HTTP
	Statsd       string // address of DogStatsD over UDP: host:port
	StatsdSocket string // path of a unix socket for its datagrams
	StatsdStream string // path of one for streams of them
	Contexts     int    // series of DogStatsD that are added up at a time
	KeepNames    bool   // names that have others in OpenTelemetry stay beside them
	Raw          bool   // values are not hidden
	// Forward are addresses that requests are sent on to, by what they are: api, logs, traces, tracers.
	Forward   map[string]string
	Node      string // name of the machine, for the heartbeat
	Instance  string // unique among the replicas
	Heartbeat time.Duration
	Admin     *admin.Admin // metrics, readiness and the report; nil for none
	// Listening is told of the addresses that are listened on, if it is set.
	Listening func(intake, statsd net.Addr)
	Log       *slog.Logger
}

const (
	defaultContexts = 100_000
	rememberedIDs   = 200_000
	// heldBytes bounds the bodies that are being received: what they unfold to comes on top.
	heldBytes = 64 << 20
)

// Default returns the settings of the service on this machine. The bus is up to the caller.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	c := Config{
		Bus: bus.Config{Name: "busbar-" + Service}, Root: subject.DefaultRoot, Settings: ingest.DefaultSettings(subject.DefaultTenant),
		Address: ":8126", Statsd: ":8125", Contexts: defaultContexts, Node: host, Instance: host + "-" + strconv.Itoa(os.Getpid()),
		Heartbeat: fleetv1.Interval, Log: slog.Default(),
	}
	c.Limits.Held, c.Limits.TenantHeld = heldBytes, heldBytes/4*3
	return c
}

// Run takes data until ctx ends; then it finishes what it has begun, hands on what it has added up, and returns nil. It returns an error if
// the bus cannot be reached at the start, or an address cannot be had.
func Run(ctx context.Context, cfg Config) error {
	log := cfg.Log.With(slog.String("service", Service))
	if cfg.Admin != nil {
		cfg.Bus.Metrics = cfg.Admin.Registerer()
	}
	b, err := bus.Connect(ctx, cfg.Bus, log)
	if err != nil {
		return err
	}
	defer b.Close()
	if cfg.Admin != nil {
		defer cfg.Admin.Check(Service, b.Ready)()
	}
	if err := b.Provision(ctx, bus.StreamSpec(cfg.Root.OTLPStream())); err != nil {
		return err
	}
	in, err := ingest.Open(cfg.Settings, Service, b, cfg.Bus.Metrics, log)
	if err != nil {
		return err
	}
	defer in.Close()
	s := &service{Config: cfg, bus: b, intake: in, log: log, report: report.New(mapping.ResourceName), drops: metric.NewDrops(cfg.Bus.Metrics)}
	return s.run(ctx)
}

type service struct {
	Config
	bus    *bus.Bus
	intake *ingest.Intake
	log    *slog.Logger
	report *report.Report
	drops  *metric.Drops
	mapper *mapping.Mapper
	sums   *dogstatsd.Aggregator
}

func (s *service) run(ctx context.Context) error {
	s.mapper = &mapping.Mapper{Keep: s.KeepNames, IDs: mapping.NewIDs(rememberedIDs), Scope: run.Version(), Now: time.Now}
	if !s.Raw {
		s.mapper.Hide = obfuscate.New()
	}
	s.sums = dogstatsd.NewAggregator(s.Contexts, s.lost, s.seen)
	if s.Admin != nil {
		defer s.Admin.Show("datadog", func() any { return s.report.Contents() })()
	}
	statsd, err := dogstatsd.Listen(ctx, s.Statsd, s.StatsdSocket, s.StatsdStream)
	if err != nil {
		return fmt.Errorf("listen for DogStatsD: %w", err)
	}
	defer statsd.Close()
	onward, err := forward.New(s.Forward, Service, s.drops, s.log)
	if err != nil {
		return err
	}
	rc := receive.Config{
		Intake: s.intake, Mapper: s.mapper, Root: s.Root, Service: Service, Report: s.report, Drops: s.drops,
		Statsd: s.sums.Packet, StatsdPort: portOf(statsd.Addr()), Log: s.log,
	}
	if onward != nil {
		rc.Forward = onward
	}
	servers, err := s.listen(ctx, receive.New(rc))
	if err != nil {
		return err
	}
	if s.Listening != nil {
		s.Listening(servers.addr(), statsd.Addr())
	}
	var front, behind run.Group
	front.Add("http", servers.run)
	front.Add("dogstatsd", func(ctx context.Context) error {
		return statsd.Run(ctx, func(packet []byte) { s.sums.Packet(s.Tenant, packet) }, s.lost)
	})
	behind.Add("intake", s.intake.Run)
	behind.Add("window", s.window)
	behind.Add("heartbeat", s.beat)
	if onward != nil {
		behind.Add("forward", onward.Run)
	}
	return inOrder(ctx, &front, &behind)
}

// inOrder runs two groups until ctx ends or one of them does. The first ends before the second is asked to: what it leaves behind is
// handed on.
func inOrder(ctx context.Context, first, second *run.Group) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	after, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	done := make(chan error, 1)
	go func() {
		done <- second.Run(after)
		stop()
	}()
	err := first.Run(ctx)
	end()
	return errors.Join(err, <-done)
}

func portOf(a net.Addr) int {
	if udp, ok := a.(*net.UDPAddr); ok {
		return udp.Port
	}
	return 0
}

// lost counts lines of DogStatsD that are lost.
func (s *service) lost(reason string, n int) {
	if n <= 0 {
		return
	}
	s.drops.Add(Service, reason, n)
	s.report.Statsd(reason)
}

// seen notes a series of DogStatsD.
func (s *service) seen(name string, kind dogstatsd.Kind, tags []string) {
	becomes := report.ToExponential
	switch kind {
	case dogstatsd.Counter:
		becomes = report.CountToSum
	case dogstatsd.Gauge:
		becomes = report.GaugeToGauge
	case dogstatsd.Set:
		becomes = report.SetToGauge
	case dogstatsd.Timer, dogstatsd.Histogram, dogstatsd.Distribution:
	}
	s.report.Metric(name, becomes, tags)
}

// beat tells the fleet that the service lives.
func (s *service) beat(ctx context.Context) error {
	b := fleetv1.Beacon{Service: Service, Instance: s.Instance, Node: s.Node, Version: run.Version(), Started: time.Now()}
	return s.bus.Beat(ctx, s.Root.Beat(Service, s.Instance), s.Heartbeat, func() []byte {
		return b.Payload(func(h *fleetv1.Heartbeat) {
			h.Facts = map[string]string{"waiting": strconv.Itoa(s.intake.Sink.Waiting())}
		})
	})
}
