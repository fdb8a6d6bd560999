// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // to send to the Collector

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/test/internal/child"
)

// pipeline is one way to the sink: processes, and how it is fed.
type pipeline struct {
	name      string
	processes map[string]*child.Child
	send      func(ctx context.Context, body []byte) error // returns when it is taken
}

// peer starts a pipeline of the Collector.
func peer(ctx context.Context, name string, c collector) (*pipeline, error) {
	at, err := child.Free(1)
	if err != nil {
		return nil, err
	}
	c.In = at[0]
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	description, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	p, err := child.Launch(ctx, self, "-collector", string(description))
	if err != nil {
		return nil, err
	}
	if err := child.Listening(ctx, c.In); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.Log())
	}
	options := []grpc.CallOption{grpc.ForceCodecV2(raw{})}
	if c.Compression == "gzip" {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	conn, err := grpc.NewClient(c.In, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(options...))
	if err != nil {
		return nil, err
	}
	return &pipeline{name: name, processes: map[string]*child.Child{"collector": p}, send: func(ctx context.Context, body []byte) error {
		var answer []byte
		return conn.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", &body, &answer)
	}}, nil
}

// The ways through Busbar, by the namespace that the resources select them by.
const resources = `apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: plain}
spec: {otlp_grpc: {endpoint: "%[1]s", compression: none, tls: {insecure: true}}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: gzip}
spec: {otlp_grpc: {endpoint: "%[1]s", compression: gzip, tls: {insecure: true}}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: plain}
spec: {to: [plain], signals: [traces], namespaces: [plain]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: gzip}
spec: {to: [gzip], signals: [traces], namespaces: [gzip]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: steps}
spec:
  to: [plain]
  signals: [traces]
  namespaces: [steps]
  match: 'resource.attributes["host.name"] != "canary"'
  steps: [{transform: 'set(span.attributes["team"], "checkout") where span.attributes["http.response.status_code"] == 200'}]
`

const root = subject.DefaultRoot

// stack is Busbar from the stream of OpenTelemetry data on.
type stack struct {
	dir       string
	processes map[string]*child.Child
	bus       *bus.Bus
}

func newStack(ctx context.Context, bin, sink string) (*stack, error) {
	dir, err := os.MkdirTemp("", "busbar-speed-")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, processes: map[string]*child.Child{}}
	if err := s.start(ctx, bin, sink); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stack) start(ctx context.Context, bin, sink string) error {
	at, err := child.Free(3)
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(at[0], ":")
	if s.processes["nats-server"], err = child.Launch(ctx, filepath.Join(bin, "nats-server"), "-a", host, "-p", port, "-js", "-sd", filepath.Join(s.dir, "store")); err != nil {
		return err
	}
	if err := child.Listening(ctx, at[0]); err != nil {
		return err
	}
	config := filepath.Join(s.dir, "resources.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, resources, sink), 0o600); err != nil {
		return err
	}
	for i, name := range []string{"router", "exporter"} {
		p, err := child.Launch(ctx, filepath.Join(bin, "busbar-"+name), "--nats-url", "nats://"+at[0], "--config", config, "--admin", at[1+i])
		if err != nil {
			return err
		}
		s.processes[name] = p
		if err := child.Ready(ctx, p, at[1+i]); err != nil {
			return err
		}
	}
	s.bus, err = bus.Connect(ctx, bus.Config{URL: "nats://" + at[0], Name: "bench"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return s.bus.Provision(ctx, bus.StreamSpec(root.OTLPStream()))
}

// way returns the pipeline that a namespace goes.
func (s *stack) way(name, namespace string) *pipeline {
	var mu sync.Mutex
	i := 0
	return &pipeline{name: name, processes: s.processes, send: func(ctx context.Context, body []byte) error {
		mu.Lock()
		i++
		service := fmt.Sprintf("shop-%d", i%bodies)
		mu.Unlock()
		return s.bus.Publish(ctx, bus.Msg{
			Subject: root.OTLP(subject.Traces, subject.DefaultTenant, namespace, service), Items: spans, Data: body,
			Header: map[string]string{subject.HeaderSchema: subject.SchemaTraces},
		})
	}}
}

func (s *stack) close() {
	if s.bus != nil {
		s.bus.Close()
	}
	for _, name := range []string{"router", "exporter", "nats-server"} {
		if p := s.processes[name]; p != nil {
			p.Stop()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// cpu returns the CPU time that each process has taken so far.
func (p *pipeline) cpu() (map[string]time.Duration, error) {
	at := map[string]time.Duration{}
	for name, c := range p.processes {
		if err := c.Ended(); err != nil {
			return nil, err
		}
		t, err := child.CPUTime(c.PID())
		if err != nil {
			return nil, err
		}
		at[name] = t
	}
	return at, nil
}
