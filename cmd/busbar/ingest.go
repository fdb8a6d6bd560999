// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/run"
	ingestotlp "github.com/busbar/busbar/services/ingest-otlp"
)

// inlets are the ports by which data comes in that others make. One that nobody asked for is left out if somebody else has its port.
type inlets struct {
	otlpGRPC, otlpHTTP inlet
}

// inlet is such a port.
type inlet struct {
	name     string // what comes in
	flag     string
	standard string // the address that clients expect
	asked    string // as the flag says
	listener net.Listener
	leftOut  error // why there is none
}

func (in *inlets) register(fs *flag.FlagSet) {
	in.otlpGRPC = inlet{name: "OTLP/gRPC", flag: "otlp-grpc-listen", standard: "127.0.0.1:4317"}
	in.otlpHTTP = inlet{name: "OTLP/HTTP", flag: "otlp-http-listen", standard: "127.0.0.1:4318"}
	for _, i := range in.all() {
		fs.StringVar(&i.asked, i.flag, "", "`ADDRESS` on which "+i.name+" is taken; "+i.standard+" if nobody has it; off: none")
	}
}

func (in *inlets) all() []*inlet { return []*inlet{&in.otlpGRPC, &in.otlpHTTP} }

// open opens the ports. To is where --otlp sends: who takes that for a back end must not be us.
func (in *inlets) open(ctx context.Context, to string) error {
	for _, i := range in.all() {
		if err := i.open(ctx, to); err != nil {
			in.close()
			return err
		}
	}
	return nil
}

func (in *inlets) close() {
	for _, i := range in.all() {
		if i.listener != nil {
			_ = i.listener.Close()
		}
	}
}

func (i *inlet) open(ctx context.Context, to string) error {
	address := cmp.Or(i.asked, i.standard)
	if address == off {
		return nil
	}
	if _, _, err := (listener{"--" + i.flag, address}).hostPort(); err != nil {
		return run.UsageError("busbar up", err)
	}
	err := errBackEnd
	if to == "" || !sameMachine(to, address) {
		i.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	if err != nil && i.asked != "" {
		return fmt.Errorf("--%s: %s: %w", i.flag, address, err)
	}
	i.leftOut = err
	return nil
}

var errBackEnd = errors.New("--otlp sends there")

// sameMachine tells whether a URL leads to the port of an address here.
func sameMachine(to, address string) bool {
	if !strings.Contains(to, "://") {
		to = "http://" + to
	}
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || cmp.Or(u.Port(), map[string]string{"grpc": "4317"}[u.Scheme], "4318") != port {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == host || u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// summary says what is taken where, for people.
func (in *inlets) summary() string {
	var taken, left []string
	for _, i := range in.all() {
		switch {
		case i.leftOut != nil:
			left = append(left, fmt.Sprintf("not %s (%v)", i.name, i.leftOut))
		case i.listener != nil:
			taken = append(taken, i.name+" at "+i.listener.Addr().String())
		}
	}
	return strings.Join(append(taken, left...), ", ")
}

// ingestOTLP is the stage that takes OTLP, if it has a port.
func (p parts) ingestOTLP() (s stage, ok bool) {
	cfg := ingestotlp.Default()
	cfg.Bus, cfg.Root, cfg.Node = p.connection(ingestotlp.Service), subject.Root(p.settings.bus.Root), p.node
	cfg.Admin, cfg.Log = p.health, p.log
	for _, i := range []inlet{p.inlets.otlpGRPC, p.inlets.otlpHTTP} {
		if i.listener != nil {
			cfg.Listeners = append(cfg.Listeners, i.listener)
		}
	}
	cfg.Intake.QueueDir, cfg.RefuseOwn = filepath.Join(p.dataDir, ingestotlp.Service), true
	run := func(ctx context.Context) error { return ingestotlp.Run(ctx, cfg) }
	return stage{ingestotlp.Service, run}, len(cfg.Listeners) > 0
}
