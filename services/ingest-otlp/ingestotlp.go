// SPDX-License-Identifier: Apache-2.0

// Package ingestotlp takes OpenTelemetry data from whoever speaks OTLP, over gRPC and HTTP, and puts it on the bus.
//
// A request is answered after the bus, or a queue on this machine's disk, has all of it. It is checked field by field, so that no later
// stage finds it malformed, and cut by service at the borders of its resources, scopes and records; the bytes in between are those
// that came. Messages are named by what they hold, so that a request which a client repeats is stored once.
package ingestotlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/kit/run"
)

// Service is the name of the service on the bus.
const Service = "ingest-otlp"

// Off in place of an address leaves a listener out.
const Off = "off"

// Config is what the service needs to know. Begin with Default.
type Config struct {
	Bus        bus.Config
	Root       subject.Root
	GRPC, HTTP string         // addresses to listen on, host:port, or Off. Both protocols are spoken on both
	Listeners  []net.Listener // open already, in place of these addresses; Run closes them
	Intake     ingest.Settings
	RefuseOwn  bool                 // refuse what a Busbar sends: in the all-in-one it would go round in a circle
	KeyHeaders []string             // names of the headers that a key may be in, where there are keys
	Listening  func(addrs []string) // told of the addresses that are listened on; nil: nobody
	Node       string               // name of the machine, for the heartbeat
	Instance   string               // unique among the replicas
	Admin      *admin.Admin         // metrics and readiness of the process; nil for none
	Log        *slog.Logger
}

// Default returns the settings of a service on this machine. The bus is up to the caller.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	intake := ingest.DefaultSettings(subject.DefaultTenant)
	// The Collector takes 20 MiB, and 4 MiB by gRPC. What is held is no more than the process can have besides 10,000 connections.
	intake.Limits.Received, intake.Limits.Decoded, intake.Limits.Held, intake.Limits.TenantHeld = 20<<20, 32<<20, 64<<20, 56<<20
	return Config{
		Bus:        bus.Config{Name: "busbar-" + Service},
		Root:       subject.DefaultRoot,
		GRPC:       ":4317",
		HTTP:       ":4318",
		Intake:     intake,
		KeyHeaders: []string{"authorization", "api-key", "x-api-key"},
		Node:       host,
		Instance:   host + "-" + strconv.Itoa(os.Getpid()),
		Log:        slog.Default(),
	}
}

// Run takes requests until ctx ends; then it finishes what it has begun and returns nil. It returns an error if the bus cannot be reached
// at the start, an address is in use, or a file that is needed cannot be read.
func Run(ctx context.Context, cfg Config) error {
	for _, l := range cfg.Listeners {
		defer l.Close() // again, if it was served
	}
	cfg.Log = cfg.Log.With(slog.String("service", Service))
	if cfg.Admin != nil {
		cfg.Bus.Metrics = cfg.Admin.Registerer()
	}
	b, err := bus.Connect(ctx, cfg.Bus, cfg.Log)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Provision(ctx, bus.StreamSpec(cfg.Root.OTLPStream())); err != nil {
		return err
	}
	in, err := ingest.Open(cfg.Intake, Service, b, cfg.Bus.Metrics, cfg.Log)
	if err != nil {
		return err
	}
	defer in.Close()
	h := &handler{root: cfg.Root, refuseOwn: cfg.RefuseOwn, keyHeaders: cfg.KeyHeaders, intake: in}
	servers, err := listen(ctx, cfg, h)
	if err != nil {
		return err
	}
	if cfg.Admin != nil {
		defer cfg.Admin.Check(Service, ready(cfg, b))()
	}
	return serve(ctx, cfg, b, in, servers)
}

// serve ends the ports first, which wait for the requests under way, and then what these need.
func serve(ctx context.Context, cfg Config, b *bus.Bus, in *ingest.Intake, servers []*ingest.Server) error {
	behind, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var group, ports run.Group
	for _, s := range servers {
		ports.Add(s.Addr().String(), s.Run)
	}
	group.Add("ports", func(behind context.Context) error {
		until, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(behind, stop)() // one of the others has failed
		return ports.Run(until)
	})
	group.Add("intake", in.Run)
	group.Add("heartbeat", func(ctx context.Context) error { return beat(ctx, cfg, b, in) })
	return group.Run(behind)
}

// ready tells whether requests are taken: with a queue on disk they are while the bus is away.
func ready(cfg Config, b *bus.Bus) func() error {
	if cfg.Intake.QueueDir != "" {
		return func() error { return nil }
	}
	return b.Ready
}

// listen opens the ports.
func listen(ctx context.Context, cfg Config, h *handler) (servers []*ingest.Server, err error) {
	settings, err := cfg.Intake.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	configs := make([]ingest.ServerConfig, 0, 2)
	for _, l := range cfg.Listeners {
		configs = append(configs, ingest.ServerConfig{Listener: l})
	}
	for _, address := range []string{cfg.GRPC, cfg.HTTP} {
		if len(cfg.Listeners) == 0 && address != Off && address != "" {
			configs = append(configs, ingest.ServerConfig{Address: address})
		}
	}
	var addresses []string
	for _, c := range configs {
		c.TLS, c.Handler, c.Service, c.Metrics, c.Log = settings, h, Service, cfg.Bus.Metrics, cfg.Log
		s, err := ingest.Listen(ctx, c)
		if err != nil {
			for _, s := range servers {
				s.Close()
			}
			return nil, err
		}
		servers, addresses = append(servers, s), append(addresses, s.Addr().String())
	}
	if len(servers) == 0 {
		return nil, errors.New("neither gRPC nor HTTP is listened for")
	}
	if cfg.Listening != nil {
		cfg.Listening(addresses)
	}
	return servers, nil
}
