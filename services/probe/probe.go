// SPDX-License-Identifier: Apache-2.0

// Package probe observes what the processes of a machine say to each other, without touching them, and publishes it as raw events.
//
// It is the only part of Busbar that needs privileges. BPF programs pair requests with responses in the kernel; the probe joins
// them with the process they belong to, removes what must not leave the machine, and publishes them in numbered batches. It keeps a
// bounded amount while the bus is away, and counts what it loses. It never writes to a process, a packet or a socket.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/probe/internal/agent"
	"github.com/busbar/busbar/services/probe/internal/container"
	"github.com/busbar/busbar/services/probe/internal/goexe"
	"github.com/busbar/busbar/services/probe/internal/hook"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/machine"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// Run observes until ctx ends; then it publishes what it has and returns nil. It returns an error if the bus cannot be reached at the
// start, if resources have faults, or if the kernel or the privileges do not allow it, and then names what is missing.
func Run(ctx context.Context, cfg Config) error {
	log := cfg.Log.With(slog.String("service", Service))
	if cfg.Admin != nil {
		cfg.Bus.Metrics = cfg.Admin.Registerer()
	}
	if err := cfg.validate(); err != nil {
		return err
	}
	selector, err := cfg.load()
	if err != nil {
		return err
	}
	p := &probe{Config: cfg, log: log, metrics: cfg.Bus.Metrics, started: time.Now(), run: newRun()}
	if cfg.Admin != nil {
		defer cfg.Admin.Check(Service, p.ready)()
	}
	if p.bus, err = bus.Connect(ctx, cfg.Bus, log); err != nil {
		return err
	}
	defer p.bus.Close()
	if err := p.bus.Provision(ctx, bus.StreamSpec(cfg.Root.RawStream()), bus.StreamSpec(cfg.Root.KubeStream())); err != nil {
		return err
	}
	if p.kern, err = kern.Load(kern.Options{Tier: cfg.Tier, RingBytes: cfg.RingBytes}); err != nil {
		return fmt.Errorf("attach to the kernel: %w", err)
	}
	defer p.kern.Close()
	return p.observe(ctx, selector)
}

type probe struct {
	Config
	log       *slog.Logger
	metrics   prometheus.Registerer // nil: none
	started   time.Time
	run       string
	bus       *bus.Bus
	kern      *kern.Kern
	agent     *agent.Agent
	hooks     *hook.Hooks
	observing atomic.Bool
	refusal   config.Refusal
}

// observe runs the parts that need each other.
func (p *probe) observe(ctx context.Context, selector *sel.Selector) error {
	processes := proc.Default(p.Node)
	processes.Root = p.ProcRoot
	p.hooks = hook.New(p.ProcRoot, p.log, hook.TLS(kern.TLSFunctions(), p.kern.AttachTLS), hook.Go(p.hookGo),
		hook.Loop(kern.LoopFunction, p.kern.HookLoop))
	var err error
	machinePaths := machine.DefaultPaths(p.ProcRoot)
	containers := container.New(sockets(p.DockerSocket), machinePaths.Roots, p.log)
	p.agent, err = agent.New(agent.Config{
		Node: p.Node, Run: p.run, Root: p.Root, Self: uint32(os.Getpid()), SpoolBytes: p.SpoolBytes, Measure: p.MeasureEvery, Proc: processes, //nolint:gosec // a pid
		Hooks: p.hooks, Host: machine.Read(machinePaths), Containers: containers, Log: p.log, Metrics: p.metrics,
	}, p.kern, p.bus, selector)
	if err != nil {
		return err
	}
	p.log.Info("observing", slog.String("node", p.Node), slog.String("run", p.run), slog.String("tier", p.kern.Tier()))
	if p.Attached != nil {
		p.Attached(p.kern.Tier())
	}
	p.observing.Store(true)
	defer p.observing.Store(false)
	var group run.Group
	group.Add("agent", p.agent.Run)
	group.Add("hooks", p.hooks.Run)
	group.Add("containers", containers.Run)
	group.Add("heartbeat", p.beat)
	group.Add("selection", p.follow)
	if len(p.Paths) > 0 {
		group.Add("resources", p.watch)
	}
	return group.Run(ctx)
}

// sockets parts the paths of Config.DockerSocket.
func sockets(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (p *probe) hookGo(path string, program *goexe.Program) (io.Closer, error) {
	return p.kern.HookGo(path, kern.GoFuncs{
		RoundTrip: program.Funcs[goexe.RoundTrip].Entry, TLSWrite: program.Funcs[goexe.TLSWrite].Entry,
		TLSRead: program.Funcs[goexe.TLSRead].Entry, TLSClose: program.Funcs[goexe.TLSClose].Entry, TLSCopy: program.Funcs[goexe.TLSRead].Copy,
	})
}

// watch applies changes of the resources.
func (p *probe) watch(ctx context.Context) error {
	var next *sel.Selector // passed from check to apply, which follows it
	w := config.Watcher{
		Paths: p.Paths, Kinds: configv1.Kinds(),
		Check: func(set *config.Set) (faults config.Faults) {
			next, faults = sel.Compile(set)
			return faults
		},
		Apply: func(*config.Set) { p.agent.Select(next) },
		Log:   p.log, Metrics: p.metrics, Refusal: &p.refusal,
	}
	return w.Run(ctx)
}

// ready tells why not every exchange would reach the bus now.
func (p *probe) ready() error {
	if !p.observing.Load() {
		return errors.New("not attached to the kernel")
	}
	if !p.hooks.Ready() {
		return errors.New("TLS libraries and Go programs that run already are not all hooked yet")
	}
	return p.bus.Ready()
}

// beat tells the fleet how this probe is.
func (p *probe) beat(ctx context.Context) error {
	b := fleetv1.Beacon{Service: Service, Instance: p.Node, Node: p.Node, Version: run.Version(), Started: p.started}
	return p.bus.Beat(ctx, p.Root.Beat(Service, p.Node), fleetv1.Interval, func() []byte {
		return b.Payload(func(h *fleetv1.Heartbeat) {
			s := p.agent.Status()
			h.Dropped, h.Degraded = s.Dropped, slices.Concat(p.kern.Degraded(), p.refusal.Degraded(), unresolved(s))
			h.Facts = map[string]string{
				"run":                   p.run,
				"tier":                  p.kern.Tier(),
				"processes":             strconv.Itoa(s.Processes),
				"observed_processes":    strconv.Itoa(s.Observed),
				"sdk_processes":         strconv.Itoa(s.Exporting),
				"selected_containers":   strconv.Itoa(s.Selected),
				"opted_out_containers":  strconv.Itoa(s.OptedOut),
				"lost_go_processes":     strconv.Itoa(s.LostGo),
				"exchanges":             strconv.FormatUint(s.Exchanges, 10),
				"encrypted_connections": strconv.FormatUint(s.Encrypted, 10),
				"hooked_files":          strconv.Itoa(p.hooks.Files()),
				"batches":               strconv.FormatUint(s.Batches, 10),
				"spool_bytes":           strconv.Itoa(s.SpoolBytes),
			}
		})
	})
}

// newRun returns the random id of a run.
func newRun() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
