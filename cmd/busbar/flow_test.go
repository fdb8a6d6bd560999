// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
	"github.com/busbar/busbar/services/router"
)

// flow is a router and an exporter at work, with resources that can be changed.
type flow struct {
	server *bustest.Server
	bus    *bus.Bus // of the test
	config string   // path of the resources
	health *admin.Admin
	stop   func()
}

func startFlow(t *testing.T, resources string) *flow {
	t.Helper()
	f := &flow{server: bustest.Listen(t), config: filepath.Join(t.TempDir(), "resources.yaml")}
	f.bus = f.server.Connect(t, "test")
	if err := f.bus.Provision(t.Context(), bus.StreamSpec(testRoot.OTLPStream())); err != nil {
		t.Fatal(err)
	}
	f.declare(t, resources)
	f.run(t)
	return f
}

// run starts both services, until the test ends or stop.
func (f *flow) run(t *testing.T) {
	t.Helper()
	f.health = admin.New()
	r, e := router.Default(), exporter.Default()
	r.Bus, r.Paths, r.Admin, r.Log = f.server.Config("busbar-router"), []string{f.config}, f.health, discard()
	e.Bus, e.Paths, e.Admin, e.Log = f.server.Config("busbar-exporter"), []string{f.config}, f.health, discard()
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		if err := router.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		if err := exporter.Run(ctx, e); err != nil {
			t.Error(err)
		}
	})
	f.stop = sync.OnceFunc(func() { cancel(); both.Wait() })
	t.Cleanup(f.stop)
}

// declare replaces the resources as an editor does.
func (f *flow) declare(t *testing.T, resources string) {
	t.Helper()
	if err := os.WriteFile(f.config+".new", []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.config+".new", f.config); err != nil {
		t.Fatal(err)
	}
}

// publish stores a message with one span for each name, and an attribute that looks like a payment card.
func (f *flow) publish(t *testing.T, service string, names ...string) {
	t.Helper()
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for _, name := range names {
		s := spans.AppendEmpty()
		s.SetName(name)
		s.Attributes().PutStr("note", "card 4111 1111 1111 1111")
	}
	data, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Error(err)
	}
	err = f.bus.Publish(t.Context(), bus.Msg{Subject: testRoot.OTLP(subject.Traces, subject.DefaultTenant, "", service), ID: service + "/" + names[0], Items: len(names), Data: data})
	if err != nil {
		t.Error(err)
	}
}

// receiver is a back end that counts spans by name, and keeps what they note.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	got   map[string]int
	notes map[string]string
	away  int // status that requests are answered with; 0 takes them
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: map[string]int{}, notes: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if err := r.take(w, q); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request) error {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil //nolint:nilerr // cut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != 0 {
		w.WriteHeader(r.away)
		return nil
	}
	request := ptraceotlp.NewExportRequest()
	if body, err = unzip(q.Header.Get("Content-Encoding"), body); err == nil {
		err = request.UnmarshalProto(body)
	}
	if err != nil {
		return err
	}
	for _, rs := range request.Traces().ResourceSpans().All() {
		for _, s := range rs.ScopeSpans().At(0).Spans().All() {
			r.got[s.Name()]++
			if note, ok := s.Attributes().Get("note"); ok {
				r.notes[s.Name()] = note.AsString()
			}
		}
	}
	return nil
}

// answers sets the status that requests are answered with; 0 takes them.
func (r *receiver) answers(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = status
}

// spans is how many different ones came, and how many in all.
func (r *receiver) spans() (distinct, all int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.got {
		all += n
	}
	return len(r.got), all
}

func (r *receiver) times(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[name]
}

func (r *receiver) note(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notes[name]
}

func (r *receiver) has(n int) func() bool {
	return func() bool { distinct, _ := r.spans(); return distinct == n }
}

func destinationOf(name string, r *receiver, more string) string {
	return fmt.Sprintf("---\napiVersion: busbar.dev/v1\nkind: Destination\nmetadata: {name: %s}\nspec: {otlp_http: {endpoint: %q}%s}\n", name, r.URL, more)
}

func pipelineOf(name, spec string) string {
	return fmt.Sprintf("---\napiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}
