// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

const stream = "BUSBAR_OTLP"

func provision(t *testing.T, b *bus.Bus) {
	t.Helper()
	err := b.Provision(t.Context(), bus.StreamSpec{Name: stream, Subjects: []string{"busbar.otlp.>"}, MaxBytes: 64 << 20, MaxAge: time.Hour, Duplicates: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
}

// start makes a sink, and runs it until the function returned is called.
func start(t *testing.T, cfg SinkConfig) (s *Sink, stop func()) {
	t.Helper()
	cfg.Service, cfg.Log = "ingest-test", slog.New(slog.DiscardHandler)
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	return s, stop
}

func stored(t *testing.T, b *bus.Bus) []int {
	t.Helper()
	var msgs []bus.Msg
	for _, d := range bustest.ReadAll(t, b, stream, "") {
		msgs = append(msgs, bus.Msg{ID: d.Header(bus.HeaderID)})
	}
	all := ids(msgs)
	slices.Sort(all)
	return all
}

func TestSinkWhileTheBusIsAway(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	provision(t, b)
	reg := prometheus.NewRegistry()
	s, _ := start(t, SinkConfig{Bus: b, Dir: t.TempDir(), Metrics: reg})
	n := 0
	put := func() {
		t.Helper()
		if err := s.Put(t.Context(), []bus.Msg{message(n, 100), message(n+1, 100)}); err != nil {
			t.Fatal(err)
		}
		n += 2
	}
	for range 5 {
		put()
	}
	server.Stop()
	bustest.Eventually(t, "the connection is gone", func() bool { return b.Ready() != nil })
	for range 100 {
		put()
	}
	if s.Waiting() == 0 {
		t.Error("nothing waits")
	}
	server.Start()
	for range 20 {
		put()
	}
	bustest.Eventually(t, "nothing waits", func() bool { return s.Waiting() == 0 })
	put()
	if d := cmp.Diff(count(n), stored(t, b)); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
	total := float64(n * (n + 1) / 2)
	bus, disk := s.metrics.acceptedRecords.WithLabelValues("ingest-test", wayBus), s.metrics.acceptedRecords.WithLabelValues("ingest-test", wayDisk)
	if got := testutil.ToFloat64(bus) + testutil.ToFloat64(disk); got != total || testutil.ToFloat64(disk) == 0 {
		t.Errorf("%v records accepted, %v of them on disk, want %v", got, testutil.ToFloat64(disk), total)
	}
}

// What a process could not deliver in its life, the next one does.
func TestSinkOfTheNextLife(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	provision(t, b)
	server.Stop()
	dir := t.TempDir()
	s, stop := start(t, SinkConfig{Bus: b, Dir: dir})
	for i := range 10 {
		if err := s.Put(t.Context(), []bus.Msg{message(i, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	server.Start()
	s, _ = start(t, SinkConfig{Bus: b, Dir: dir})
	bustest.Eventually(t, "nothing waits", func() bool { return s.Waiting() == 0 && b.Ready() == nil })
	if d := cmp.Diff(count(10), stored(t, b)); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
}

func TestSinkRefuses(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	provision(t, b)
	small, _ := start(t, SinkConfig{Bus: b, Dir: t.TempDir(), Bytes: 1000})
	none, _ := start(t, SinkConfig{Bus: b, Within: 50 * time.Millisecond})
	tooLarge := bus.Msg{Subject: "busbar.otlp.a", ID: "l", Data: make([]byte, bus.MaxData+1), Items: 1}
	if r := AsRefusal(small.Put(t.Context(), []bus.Msg{tooLarge})); r.Status != 413 || r.After != 0 {
		t.Errorf("too large: %d after %v: %v", r.Status, r.After, r)
	}
	server.Stop()
	for range 20 {
		_ = small.Put(t.Context(), []bus.Msg{message(1, 100)})
	}
	for name, s := range map[string]*Sink{"queue_full": small, "bus_away": none} {
		r := AsRefusal(s.Put(t.Context(), []bus.Msg{message(1, 100)}))
		if r.Status != 503 || r.After < time.Second || r.Reason != name {
			t.Errorf("%s: %d %s after %v: %v", name, r.Status, r.Reason, r.After, r)
		}
		if got := testutil.ToFloat64(s.metrics.refusedRecords.WithLabelValues("ingest-test", name)); got == 0 {
			t.Errorf("%s is not counted", name)
		}
	}
}

// A NATS server that is killed under load, several times, has all that was acknowledged in the end, once.
func TestSinkWithAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(free.Addr().String(), ":")
	_ = free.Close()
	dir := t.TempDir()
	serve := func() *exec.Cmd {
		cmd, out := launch(t, "server "+port+" "+dir)
		if !out.Scan() {
			t.Fatal("the server ended")
		}
		return cmd
	}
	server := serve()
	b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://127.0.0.1:" + port, Name: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	provision(t, b)
	s, _ := start(t, SinkConfig{Bus: b, Dir: t.TempDir(), Within: time.Second})
	const senders, each = 4, 150
	var sending sync.WaitGroup
	progress := make(chan struct{}, senders*each)
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				for s.Put(t.Context(), []bus.Msg{message(sender*each+i, 100)}) != nil && t.Context().Err() == nil {
				}
				progress <- struct{}{}
			}
		})
	}
	for range 3 {
		for range senders * each / 5 {
			<-progress
		}
		kill(t, server)
		server = serve()
	}
	sending.Wait()
	bustest.Eventually(t, "nothing waits", func() bool { return s.Waiting() == 0 && b.Ready() == nil })
	got := map[int]int{}
	for _, id := range stored(t, b) {
		got[id]++
	}
	for i := range senders * each {
		if got[i] != 1 {
			t.Errorf("message %d is stored %d times", i, got[i])
		}
	}
	kill(t, server)
}

func TestSizeFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"512": "512", "2048": "2KiB", "64KiB": "64KiB", "3GiB": "3GiB", "0": "", "-1MiB": "", "1TB": "", "9999999999GiB": ""} {
		var s size
		err := s.Set(text)
		if got := fmt.Sprint(&s); err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}
