// SPDX-License-Identifier: Apache-2.0

package note_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/note"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

func TestOptsOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"false": true, " False ": true, "0": true, "true": false, "no": false, "": false} {
		out, err := note.OptsOut(map[string]string{note.Observe: text})
		if out != want || (err != nil) != (text == "no" || text == "") {
			t.Errorf("%q: %t, %v", text, out, err)
		}
	}
	if out, err := note.OptsOut(nil); out || err != nil {
		t.Errorf("without annotation: %t, %v", out, err)
	}
}

// trace is a trace id whose last 56 bits are a share of all there are.
func trace(share float64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8), uint64(share*(1<<56)))
}

func TestSample(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		state            string
		low, middle, top bool
	}{
		"1": {"", true, true, true}, "0.5": {"ot=th:8", false, true, true}, "0.25": {"ot=th:c", false, false, true},
	} {
		n, err := note.Read(map[string]string{note.Sample: text})
		if err != nil {
			t.Fatal(err)
		}
		if n != nil && n.State != want.state {
			t.Errorf("%s: tracestate %q", text, n.State)
		}
		if n.Keeps(trace(.1)) != want.low || n.Keeps(trace(.6)) != want.middle || n.Keeps(trace(.9)) != want.top {
			t.Errorf("%s: keeps %t, %t, %t", text, n.Keeps(trace(.1)), n.Keeps(trace(.6)), n.Keeps(trace(.9)))
		}
	}
	n, err := note.Read(map[string]string{note.Sample: "0"})
	if err != nil || n.Keeps(trace(.999999)) {
		t.Errorf("of no share something is kept; %v", err)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	n, err := note.Read(map[string]string{note.Routes: "/users/{id}, /static/**", note.IgnoreRoutes: "/healthz"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]route.Route{
		"/users/7":     {Name: "/users/{id}"},
		"/static/a/b":  {Name: "/static/**"},
		"/healthz":     {NoSpan: true, NoMetric: true},
		"/other":       {},
		"*":            {},
		"":             {},
		"/users/7/new": {},
	} {
		got, ok := n.Routes().Route(path)
		if got != want || ok != (want != route.Route{}) {
			t.Errorf("%q: %+v, %t", path, got, ok)
		}
	}
	var none *note.Notes
	if _, ok := none.Routes().Route("/a"); ok || !none.Keeps(nil) {
		t.Error("no notes ask for something")
	}
}

// TestMalformed: what is wrong is left out, said with its place, and stops nothing else.
func TestMalformed(t *testing.T) {
	t.Parallel()
	n, err := note.Read(map[string]string{note.Observe: "x", note.Sample: "2", note.Routes: "users,/ok/{id}", note.IgnoreRoutes: "/a?b"})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{note.Observe + ": ", note.Sample + `: want a share between 0 and 1, got "2"`, `pattern "users"`, `pattern "/a?b"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if r, _ := n.Routes().Route("/ok/1"); r.Name != "/ok/{id}" || !n.Keeps(trace(0)) {
		t.Error("what is right was left out")
	}
	if n, err := note.Read(map[string]string{note.Sample: "NaN", note.Routes: " , "}); n != nil || err == nil {
		t.Errorf("notes %+v, %v", n, err)
	}
}

func TestBook(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	malformed := 0
	b := note.NewBook(slog.New(slog.NewTextHandler(&log, nil)), func() { malformed++ })
	pod := func(ratio string) *kubev1.Pod {
		return &kubev1.Pod{Namespace: "shop", Annotations: map[string]string{note.Sample: ratio}}
	}
	good, bad := pod("0.5"), pod("half")
	for range 3 {
		if b.Of(good).Keeps(trace(.1)) || !b.Of(bad).Keeps(trace(.1)) {
			t.Error("notes are wrong")
		}
	}
	b.Of(pod("half"))
	if malformed != 2 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d malformed, log:\n%s", malformed, &log)
	}
	for range 3 * 4096 { // a cluster that changes all the time
		b.Of(pod("0.5"))
	}
	var none *note.Book
	if none.Of(good) != nil || b.Of(nil) != nil {
		t.Error("nobody asks for something")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("false", "0.1", "/users/{id},/static/**", "/healthz", "/users/7")
	f.Fuzz(func(t *testing.T, observe, sample, routes, ignore, path string) {
		n, _ := note.Read(map[string]string{note.Observe: observe, note.Sample: sample, note.Routes: routes, note.IgnoreRoutes: ignore})
		n.Routes().Route(path)
		if n != nil && n.State == "" && !n.Keeps(trace(0)) {
			t.Error("a span is dropped though nothing says that spans are")
		}
	})
}
