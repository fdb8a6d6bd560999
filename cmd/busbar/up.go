// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher"
	"github.com/busbar/busbar/services/exporter"
	"github.com/busbar/busbar/services/probe"
	"github.com/busbar/busbar/services/router"
)

// settings are the flags of `busbar up`.
type settings struct {
	place
	inlets
	resources run.List
	otlp      string
	noProbe   bool
	tier      string
	docker    string
	measure   time.Duration
	node      string
	kube      enricher.Kube
	datadog   datadogFlags
	bus       run.BusFlags
	log       run.LogFlags

	attached atomic.Pointer[string] // the tier that the probe uses, once it does
}

func parseUp(args []string, env func(string) string, stdout io.Writer) (*settings, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s := new(settings)
	fs := run.NewFlags("busbar up", "runs everything in one process", "", stdout)
	run.RegisterConfig(fs, &s.resources)
	fs.StringVar(&s.otlp, "otlp", "", "`URL` of a back end that gets everything: http://host:4318 or grpc://host:4317")
	fs.BoolVar(&s.noProbe, "no-probe", false, "run without the probe, which is the part that needs privileges")
	run.Choice(fs, &s.tier, "tier", "how the probe sees traffic", "auto", "btf", "fentry", "kprobe", "syscall")
	fs.StringVar(&s.docker, "docker-socket", probe.Default().DockerSocket, "`PATH` at which Docker or Podman tells the names of containers, several parted by commas; empty: do not ask")
	fs.DurationVar(&s.measure, "process-metrics", probe.Default().MeasureEvery, "how often it is measured what observed processes use, as a `DURATION`; 0 for never")
	fs.StringVar(&s.node, "node", host, "`NAME` of this machine")
	s.kube.Register(fs)
	s.place.register(fs, env)
	s.inlets.register(fs)
	s.datadog.register(fs)
	s.bus.RegisterRoot(fs)
	s.log.Register(fs)
	if err := run.Parse(fs, args, env); err != nil {
		return nil, err
	}
	for _, l := range s.addresses() {
		if _, _, err := l.hostPort(); err != nil {
			return nil, run.UsageError(fs.Name(), err)
		}
	}
	return s, nil
}

// up runs every service in this process, on a bus of its own, until ctx ends or one of them fails. The probe ends first, then
// the services in the direction of the data, then the bus.
func up(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	s, err := parseUp(args, env, stdout)
	if err != nil {
		return err
	}
	destinations, routes, err := s.destinations()
	if err != nil {
		return err
	}
	if _, faults := examine(s.resources, routes); len(faults) > 0 {
		return faults
	}
	log := admin.Logger(stderr, s.log.Level, s.log.Format)

	health := admin.New()
	if s.admin != off {
		port, err := health.Open(ctx, s.admin)
		if err != nil {
			return fmt.Errorf("--admin: %w", err)
		}
		defer port.Close()
	}
	if s.prometheus != off { // now, or whoever has the port would pass for the page below
		if err := vacant(ctx, s.prometheus); err != nil {
			return fmt.Errorf("--prometheus: %w", err)
		}
	}
	if err := s.inlets.open(ctx, s.otlp); err != nil {
		return err
	}
	defer s.inlets.close()
	server, err := s.startBus(log)
	if err != nil {
		return err
	}
	defer server.Shutdown()

	p := parts{settings: s, health: health, log: log, server: server}
	stages := []stage{p.enricher(), p.router(routes), p.exporter(destinations)}
	if in, ok := p.ingestOTLP(); ok {
		stages = append([]stage{in}, stages...)
	}
	if s.datadog.on() {
		stages = append([]stage{p.ingestDatadog()}, stages...)
	}
	if !s.noProbe {
		stages = append([]stage{p.probe()}, stages...)
	}
	for _, st := range stages { // its own check takes the place of this one
		health.Check(st.name, errNotStarted)
	}
	if s.prometheus != off {
		health.Check("page", func() error { return accepts(ctx, s.prometheus) })
	}
	return runStages(ctx, append([]stage{s.announce(health, stdout, log)}, stages...))
}

// startBus starts the NATS server.
func (s *settings) startBus(log *slog.Logger) (*embedded.Server, error) {
	o := embedded.Options{StoreDir: s.dataDir, DontListen: s.nats == off, Log: log}
	if !o.DontListen {
		var err error
		if o.Host, o.Port, err = (listener{"--nats-listen", s.nats}).hostPort(); err != nil {
			return nil, err
		}
		if o.Host == "" {
			o.Host = "0.0.0.0"
		}
	}
	return embedded.Start(o)
}

// destinations are those that flags ask for, and what the router sends there.
func (s *settings) destinations() ([]exporter.Destination, []router.Route, error) {
	var (
		to     []exporter.Destination
		routes []router.Route
	)
	if s.prometheus != off {
		page := exporter.Page(s.prometheus)
		to, routes = append(to, page), append(routes, router.Route{Destination: page.Name, Signals: []subject.Signal{subject.Metrics}})
	}
	if s.otlp != "" {
		otlp, err := exporter.ParseOTLP(s.otlp)
		if err != nil {
			return nil, nil, run.UsageError("busbar up", fmt.Errorf("--otlp: %w", err))
		}
		to, routes = append(to, otlp), append(routes, router.Route{Destination: otlp.Name})
	}
	return to, routes, nil
}

// parts makes the services.
type parts struct {
	*settings
	health *admin.Admin
	log    *slog.Logger
	server *embedded.Server
}

// connection is how a service reaches the bus without a socket.
func (p parts) connection(service string) bus.Config {
	return bus.Config{InProcess: p.server, Name: "busbar-" + service, Metrics: p.health.Registerer()}
}

func (p parts) probe() stage {
	cfg := probe.Default()
	cfg.Bus, cfg.Root, cfg.Node, cfg.Tier = p.connection("probe"), subject.Root(p.settings.bus.Root), p.node, p.tier
	cfg.Paths, cfg.Admin, cfg.Log, cfg.DockerSocket, cfg.MeasureEvery = p.resources, p.health, p.log, p.docker, p.measure
	cfg.Attached = func(tier string) { p.attached.Store(&tier) }
	return stage{"probe", func(ctx context.Context) error {
		if err := probe.Run(ctx, cfg); err != nil {
			return fmt.Errorf("%w (busbar up --no-probe runs the rest)", err)
		}
		return nil
	}}
}

func (p parts) enricher() stage {
	cfg := enricher.Default()
	cfg.Bus, cfg.Root, cfg.Node = p.connection("enricher"), subject.Root(p.settings.bus.Root), p.node
	cfg.Paths, cfg.Admin, cfg.Log = p.resources, p.health, p.log
	cfg.Kube = p.kube
	return stage{"enricher", func(ctx context.Context) error { return enricher.Run(ctx, cfg) }}
}

func (p parts) router(routes []router.Route) stage {
	cfg := router.Default()
	cfg.Bus, cfg.Root, cfg.Node = p.connection("router"), subject.Root(p.settings.bus.Root), p.node
	cfg.Paths, cfg.Admin, cfg.Log, cfg.Implicit = p.resources, p.health, p.log, routes
	return stage{"router", func(ctx context.Context) error { return router.Run(ctx, cfg) }}
}

func (p parts) exporter(destinations []exporter.Destination) stage {
	cfg := exporter.Default()
	cfg.Bus, cfg.Root, cfg.Node = p.connection("exporter"), subject.Root(p.settings.bus.Root), p.node
	cfg.Paths, cfg.Admin, cfg.Log, cfg.Destinations = p.resources, p.health, p.log, destinations
	cfg.Instance = p.node + "-up" // the only one in its folder, so the next life need not wait for the shards of one that was killed
	return stage{"exporter", func(ctx context.Context) error { return exporter.Run(ctx, cfg) }}
}
