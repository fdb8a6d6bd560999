// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
)

// report is an exchange as the probe reported it.
type report struct {
	fact
	role      eventv1.Role
	process   *eventv1.Process
	start     time.Time
	encrypted bool // of a connection whose plaintext was not seen
}

// probe is a running busbar-probe, with a bus of its own.
type probe struct {
	child   *child
	stopBus func()

	mu      sync.Mutex
	reports []report
	last    time.Time // when one came last
	dropped map[string]uint64
	faults  []string // of what came over the bus
	next    uint64   // batch
}

// startProbe runs the probe so that it observes what the executables do, and returns when its hooks are in place.
func startProbe(ctx context.Context, dir, program, tier string, executables []string) (*probe, error) {
	store, err := os.MkdirTemp(dir, "bus-")
	if err != nil {
		return nil, err
	}
	nats, err := embedded.Start(embedded.Options{Port: -1, StoreDir: store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	p := &probe{next: 1}
	if err := p.listen(ctx, nats.ClientURL()); err != nil {
		return nil, err
	}
	p.stopBus = nats.Shutdown
	ports, err := free(1)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(store, "instrumentation.yaml")
	if err := os.WriteFile(config, []byte(instrumentation(executables)), 0o600); err != nil {
		return nil, err
	}
	admin := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p.child, err = launch(ctx, filepath.Join(dir, "probe-"+tier+".log"), program, "--nats-url", nats.ClientURL(), "--tier", tier, "--admin", admin, "--config", config)
	if err != nil {
		return nil, err
	}
	return p, poll(ctx, "the probe", func() (bool, error) {
		if err := p.child.ended(); err != nil {
			return false, err
		}
		return ready(ctx, admin), nil
	})
}

func ready(ctx context.Context, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func instrumentation(executables []string) string {
	var b strings.Builder
	b.WriteString("apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: accuracy}\nspec:\n  select:\n")
	for _, e := range executables {
		fmt.Fprintf(&b, "  - exe: %q\n", e)
	}
	return b.String()
}

// listen takes in what the probe will publish.
func (p *probe) listen(ctx context.Context, url string) error {
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "accuracy"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	go func() {
		_ = b.Subscribe(ctx, string(subject.DefaultRoot)+".raw.exchange.>", p.take)
		b.Close()
	}()
	return nil
}

func (p *probe) take(d *bus.Delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var batch eventv1.ExchangeBatch
	data, err := d.Data()
	if err == nil {
		err = proto.Unmarshal(data, &batch)
	}
	if err != nil {
		p.faults = append(p.faults, err.Error())
		return
	}
	if n := batch.GetOrigin().GetSequence(); n != p.next {
		p.faults = append(p.faults, fmt.Sprintf("batch %d came in place of %d", n, p.next))
	}
	p.next = batch.GetOrigin().GetSequence() + 1
	p.dropped, p.last = batch.GetOrigin().GetDropped(), time.Now()
	for _, e := range batch.GetExchanges() {
		start := time.Unix(0, int64(e.GetStartUnixNano())) //nolint:gosec // A time of these years.
		if t := e.GetEncrypted(); t != nil {
			port := e.GetPeerPort()
			if e.GetRole() == eventv1.Role_ROLE_CLIENT {
				port = e.GetLocalPort()
			}
			f := encryptedFact(int(port), t.GetServerName(), t.GetVersion())
			f.Request, f.Response, f.Outcome, f.Abort = e.GetRequestBytes(), e.GetResponseBytes(), e.GetOutcome(), e.GetAbort()
			p.reports = append(p.reports, report{fact: f, role: e.GetRole(), process: batch.GetProcesses()[e.GetProcess()], start: start, encrypted: true})
			continue
		}
		p.reports = append(p.reports, report{
			fact: fact{
				Path: e.GetHttp().GetPath(), Method: e.GetHttp().GetMethod(), Status: e.GetHttp().GetStatus(),
				Request: e.GetRequestBytes(), Response: e.GetResponseBytes(), Outcome: e.GetOutcome(), Abort: e.GetAbort(), Library: e.GetTlsLibrary(), FastCGI: e.GetHttp().GetFastcgi(),
			},
			role: e.GetRole(), process: batch.GetProcesses()[e.GetProcess()], start: start,
		})
	}
}

// finish waits until nothing has come for a while, ends the probe, and returns what it reported.
func (p *probe) finish(ctx context.Context, quiet time.Duration) error {
	begun := time.Now()
	err := poll(ctx, "the last report", func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return time.Since(begun) > quiet && time.Since(p.last) > quiet, p.child.ended()
	})
	p.child.stop()
	p.stopBus()
	p.mu.Lock()
	defer p.mu.Unlock()
	return err
}
