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
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// TestUpTakesRecordsToTheBackEnd runs everything but the probe, in whose place the test writes to the bus, twice on the same
// data.
func TestUpTakesRecordsToTheBackEnd(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 100)
	backEnd := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			return
		}
		request := ptraceotlp.NewExportRequest()
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = unzip(r.Header.Get("Content-Encoding"), body)
		}
		if err == nil {
			err = request.UnmarshalProto(body)
		}
		if err != nil {
			t.Error(err)
			return
		}
		span := request.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		path, _ := span.Attributes().Get("url.path")
		paths <- path.Str()
	}))
	defer backEnd.Close()
	address := freeAddress(t)
	args := []string{
		"up", "--no-probe", "--data-dir", t.TempDir(), "--nats-listen", address, "--prometheus", "off", "--admin", "off",
		"--otlp", backEnd.URL, "--log-level", "error", "--subject-root", "lab",
	}
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out, ended := tapWriter{make(chan []byte, 10)}, make(chan error, 1)
		go func() { ended <- program(ctx, args, noEnv, out, io.Discard) }()
		select {
		case summary := <-out.wrote:
			if !strings.Contains(string(summary), "everything to "+backEnd.URL) || !strings.Contains(string(summary), "subjects lab.>") {
				t.Errorf("summary:\n%s", summary)
			}
		case err := <-ended:
			t.Fatalf("up ended: %v", err)
		}
		path := fmt.Sprintf("/round/%d", round)
		publishExchange(t, address, path)
		if got := <-paths; got != path {
			t.Errorf("span of %q, want %q", got, path)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("up ends with %v", err)
		}
	}
}

// publishExchange does what a probe does, from outside.
func publishExchange(t *testing.T, address, path string) {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + address, Name: "test"}, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := proto.Marshal(&eventv1.ExchangeBatch{
		Origin:    &eventv1.Origin{Node: "n1", Run: path, Sequence: 1},
		Processes: []*eventv1.Process{{Pid: 7, StartUnixNano: 1, Executable: "/bin/shop"}},
		Addresses: [][]byte{{127, 0, 0, 1}},
		Exchanges: []*eventv1.Exchange{{
			Role: eventv1.Role_ROLE_SERVER, Outcome: eventv1.Outcome_OUTCOME_COMPLETE, StartUnixNano: 1795255945112156535,
			RequestEndNano: 1, ResponseStartNano: 2, EndNano: 3, LocalPort: 80, PeerPort: 4000,
			TraceId: []byte("0123456789abcdef"), SpanId: []byte("01234567"), TraceFlags: 1,
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: path, Status: 200, MinorVersion: 1}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	msg := bus.Msg{Subject: subject.Root("lab").RawExchange("n1"), ID: "n1/" + path + "/1", Items: 1, Data: data}
	if err := b.Publish(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

func TestUpNamesThePartThatFails(t *testing.T) {
	t.Parallel()
	server := bustest.Listen(t) // any listener will do
	taken := strings.TrimPrefix(server.URL(), "nats://")
	for _, flag := range []string{"--nats-listen", "--prometheus", "--admin"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			args := []string{"up", "--no-probe", "--data-dir", t.TempDir(), "--log-level", "error"}
			for _, f := range []string{"--nats-listen", "--prometheus", "--admin"} {
				args = append(args, f, map[bool]string{true: taken, false: off}[f == flag])
			}
			var out strings.Builder
			err := program(t.Context(), args, noEnv, &out, io.Discard)
			if out.Len() > 0 {
				t.Errorf("it said %q although it did not run", &out)
			}
			if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "address already in use") {
				t.Errorf("error %v, want one that names %s", err, taken)
			}
		})
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		uid             int
		state, home, is string
	}{
		{0, "/x", "/root", "/var/lib/busbar"},
		{1000, "/state", "/home/a", "/state/busbar"},
		{1000, "relative", "/home/a", "/home/a/.local/state/busbar"},
		{1000, "", "/home/a", "/home/a/.local/state/busbar"},
	} {
		got := defaultDataDir(tc.uid, func(name string) string {
			return map[string]string{"XDG_STATE_HOME": tc.state, "HOME": tc.home}[name]
		})
		if got != tc.is {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func TestPipelineMayNameADestinationOfAFlag(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pipeline.yaml")
	const text = "apiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: p}\nspec: {signals: [metrics], to: [page, otlp]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{place: place{prometheus: "127.0.0.1:9464"}, otlp: "http://127.0.0.1:4318"}
	_, routes, err := s.destinations()
	if err != nil {
		t.Fatal(err)
	}
	if _, faults := examine([]string{file}, routes); len(faults) > 0 {
		t.Errorf("with the flags: %v", faults)
	}
	if _, faults := examine([]string{file}, nil); len(faults) != 2 {
		t.Errorf("without them: %v, want a fault for each destination", faults)
	}
}

// TestDocumentedResources loads every example of docs/resources.md.
func TestDocumentedResources(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/resources.md")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("dXNlcjpwYXNz"), 0o600); err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(strings.ReplaceAll(string(page), "/run/secrets/tempo", secret), "```yaml\n")[1:]
	if len(examples) < 5 {
		t.Fatalf("found %d examples only", len(examples))
	}
	for i, example := range examples {
		text, _, _ := strings.Cut(example, "```")
		file := filepath.Join(t.TempDir(), fmt.Sprintf("example-%d.yaml", i+1))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, faults := examine([]string{file}, nil); len(faults) > 0 {
			t.Errorf("example %d:\n%v\n%s", i+1, faults, text)
		}
	}
}
