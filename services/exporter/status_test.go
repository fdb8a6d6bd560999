// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// destinationStatus is one entry of /destinations.
type destinationStatus struct {
	Name, State, Cause string
	Since, Oldest      *time.Time
	PendingMessages    int
	Leaving            bool
}

func (l *lab) statuses() (all []destinationStatus) {
	l.t.Helper()
	w := httptest.NewRecorder()
	l.admin.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/destinations", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || w.Code != http.StatusOK {
		l.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return all
}

// The admin port and the heartbeat tell how each destination does: which are well, since when and why others are not, and what waits.
func TestStatusOfDestinations(t *testing.T) {
	t.Parallel()
	good, bad, small := newBackend(t), newBackend(t), newBackend(t)
	bad.refusing(status(http.StatusForbidden))
	small.refusing(status(http.StatusServiceUnavailable))
	to := func(name string, b *backend, more string) string {
		return destination(name, "otlp_http: {endpoint: 'http://"+b.address+"'}"+more)
	}
	all := to("bad", bad, "") + to("good", good, "") + to("small", small, ", queue: {maxBytes: 4MiB}")
	path := resources(t, all)
	l := start(t, func(c *exporter.Config) { c.Paths, c.Heartbeat, c.Instance = []string{path}, beat, "me" })
	beats := l.beats()
	for _, name := range []string{"bad", "good", "small"} {
		bustest.Eventually(t, "it runs", l.state(name, "ok"))
	}
	l.publish("good", subject.Traces, 0, 3, spans(t))
	l.publish("bad", subject.Traces, 0, 3, spans(t))
	td := ptrace.NewTraces()
	noise := make([]byte, 20<<10)
	_, _ = rand.Read(noise)
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName(hex.EncodeToString(noise))
	large, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	bustest.Eventually(t, "the stream of small is full", func() bool {
		l.publish("small", subject.Traces, sent, sent+1, func(int) []byte { return large })
		sent++
		return l.state("small", "full")()
	})
	bustest.Eventually(t, "what waits is known", func() bool { return l.statuses()[0].PendingMessages == 3 })

	at := l.statuses()
	if len(at) != 3 {
		t.Fatalf("%+v", at)
	}
	if s := at[0]; s.Name != "bad" || s.State != "refusing" || !strings.HasSuffix(s.Cause, "403 Forbidden") || s.Since == nil || s.Oldest == nil {
		t.Errorf("%+v", s)
	}
	if s := at[1]; s.Name != "good" || s.State != "ok" || s.Since != nil || s.Cause != "" || s.PendingMessages != 0 || s.Oldest != nil {
		t.Errorf("%+v", s)
	}
	if s := at[2]; s.State != "full" || !strings.HasPrefix(s.Cause, "its stream is at its limit and drops the oldest messages; ") || s.PendingMessages == 0 {
		t.Errorf("%+v", s)
	}
	bustest.Eventually(t, "the heartbeat has the same", func() bool {
		s := beats().GetStates()
		return len(s) == 3 && s[0].GetState() == "refusing" && s[0].GetPendingMessages() == 3 && s[0].GetOldestUnixNano() > 0 && s[2].GetState() == "full"
	})

	write(t, path, all+to("worse", bad, ", queue: {maxBytes: lots}"))
	bustest.Eventually(t, "the heartbeat tells of a change that is refused", func() bool {
		for _, text := range beats().GetDegraded() {
			if strings.HasPrefix(text, "configuration refused, the last good one stays: ") && strings.Contains(text, "spec.queue.maxBytes: want a size such as") {
				return true
			}
		}
		return false
	})
	write(t, path, all)
	bustest.Eventually(t, "and of no trouble with one that is not", func() bool { return !strings.Contains(strings.Join(beats().GetDegraded(), "\n"), "configuration") })
}
