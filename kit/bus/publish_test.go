// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

func TestPublishStoresWhatWasGiven(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t).Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})

	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	text := []byte(strings.Repeat("all work and no play ", 200))
	tests := []struct {
		name     string
		msg      bus.Msg
		encoding string
	}{
		{"tiny is left alone", bus.Msg{Data: []byte("tiny")}, bus.EncodingIdentity},
		{"empty", bus.Msg{}, bus.EncodingIdentity},
		{"text is compressed", bus.Msg{Data: text, Items: 200}, bus.EncodingS2},
		{"noise is left alone", bus.Msg{Data: noise}, bus.EncodingIdentity},
		{"identity is left alone", bus.Msg{Data: text, Encoding: bus.EncodingIdentity}, bus.EncodingIdentity},
		{"largest", bus.Msg{Data: bytes.Repeat([]byte("x"), bus.MaxData)}, bus.EncodingS2},
		{"headers", bus.Msg{Header: map[string]string{bus.HeaderSchema: "busbar.event.v1.ExchangeBatch", bus.HeaderSource: "node a"}}, bus.EncodingIdentity},
	}
	for i, tt := range tests {
		tt.msg.Subject = fmt.Sprintf("s.%d", i)
		tt.msg.ID = tt.name
		publish(t, b, tt.msg)
	}
	stored := bustest.ReadAll(t, b, "S", "")
	if len(stored) != len(tests) {
		t.Fatalf("%d messages are stored, want %d", len(stored), len(tests))
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := stored[i]
			data, err := d.Data()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, tt.msg.Data) {
				t.Errorf("data differs: %d bytes, want %d", len(data), len(tt.msg.Data))
			}
			if d.Encoding() != tt.encoding {
				t.Errorf("encoding %q, want %q", d.Encoding(), tt.encoding)
			}
			if d.Header(bus.HeaderID) != tt.name || d.Items() != max(tt.msg.Items, 1) {
				t.Errorf("id %q, items %d", d.Header(bus.HeaderID), d.Items())
			}
			want := map[string]string{}
			maps.Copy(want, tt.msg.Header)
			if tt.msg.Items > 0 {
				want[bus.HeaderItems] = fmt.Sprint(tt.msg.Items)
			}
			if diff := cmp.Diff(want, d.Headers()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPublishDeduplicates(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t).Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	publish(t, b, bus.Msg{Subject: "s.a", ID: "1"}, bus.Msg{Subject: "s.a", ID: "1"}, bus.Msg{Subject: "s.a", ID: "2"}, bus.Msg{Subject: "s.a"}, bus.Msg{Subject: "s.a"})
	if got := len(bustest.ReadAll(t, b, "S", "")); got != 4 {
		t.Errorf("%d messages are stored, want 4", got)
	}
}

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t).Connect(t, "test")
	provision(t, b,
		bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}},
		bus.StreamSpec{Name: "FULL", Subjects: []string{"full.>"}, MaxBytes: 4096, DiscardNew: true},
	)
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise)
	filler := bus.Msg{Subject: "full.a", Data: noise[:3000]}
	publish(t, b, filler)
	for _, tt := range []struct {
		name string
		msg  bus.Msg
		want error
	}{
		{"full", filler, bus.ErrFull},
		{"no stream", bus.Msg{Subject: "nowhere.a"}, bus.ErrNoStream},
		{"too large before compression", bus.Msg{Subject: "s.a", Data: make([]byte, bus.MaxData+1)}, bus.ErrTooLarge},
		{"headers too large", bus.Msg{Subject: "s.a", Header: map[string]string{"Long": strings.Repeat("x", 1<<16)}}, bus.ErrTooLarge},
		{"too large for the server", bus.Msg{Subject: "s.a", Data: noise, Encoding: bus.EncodingIdentity}, bus.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := b.Publish(t.Context(), bus.Msg{Subject: "s.a"}, tt.msg)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "publish "+tt.msg.Subject) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPublishToBadSubject(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t).Connect(t, "test")
	for _, subject := range []string{"", "a b", "a\r\nPUB x 0\r\n"} {
		if err := b.Publish(t.Context(), bus.Msg{Subject: subject}); err == nil {
			t.Errorf("subject %q was taken", subject)
		}
	}
}

func TestHeadersCannotBreakOut(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t).Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	publish(t, b, bus.Msg{Subject: "s.a", Header: map[string]string{"X": "a\r\nNats-Rollup: all\r\n\r\nboo"}, Data: []byte("body")})
	d := bustest.ReadAll(t, b, "S", "")[0]
	if d.Header("Nats-Rollup") != "" || string(d.Raw()) != "body" {
		t.Errorf("header became %q, body %q", d.Headers(), d.Raw())
	}
}

// TestWindow holds the server's answers back by stopping it, and fills the window.
func TestWindow(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	cfg := s.Config("test")
	cfg.WindowBytes, cfg.WindowMessages = 64<<10, 16
	b, err := bus.Connect(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	s.Stop()
	bustest.Eventually(t, "disconnected", func() bool { return b.Ready() != nil })

	var stored sync.WaitGroup
	taken := 0
	for ; taken < 100; taken++ {
		stored.Add(1)
		err = b.PublishAsync(bus.Msg{Subject: "s.a", Data: []byte("x")}, func(err error) {
			defer stored.Done()
			if err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			stored.Done()
			break
		}
	}
	if !errors.Is(err, bus.ErrWindowFull) || taken != 16 {
		t.Fatalf("took %d messages, then %v", taken, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, bus.Msg{Subject: "s.a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("publish into a full window: %v", err)
	}
	s.Start()
	stored.Wait()
	publish(t, b, bus.Msg{Subject: "s.a"})
	if got := len(bustest.ReadAll(t, b, "S", "")); got != 17 {
		t.Errorf("%d messages are stored, want 17", got)
	}
}

func TestPublishWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := s.Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	s.Stop()
	bustest.Eventually(t, "disconnected", func() bool { return b.Ready() != nil })

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := b.Publish(ctx, bus.Msg{Subject: "s.a", ID: "1"})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("got %v", err)
	}
	result := make(chan error, 1)
	go func() { result <- b.Publish(t.Context(), bus.Msg{Subject: "s.a", ID: "1"}) }()
	s.Start()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// TestRestartLosesNothing publishes from several goroutines while the server is restarted, and finds each message once.
func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	s := bustest.Listen(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: s.URL(), Name: "test"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})

	const publishers, each = 4, 200
	var published atomic.Int64
	var wait sync.WaitGroup
	for p := range publishers {
		wait.Go(func() {
			for i := range each {
				if err := b.Publish(t.Context(), bus.Msg{Subject: "s.a", ID: fmt.Sprintf("%d-%d", p, i)}); err != nil {
					t.Error(err)
					return
				}
				published.Add(1)
			}
		})
	}
	for _, at := range []int64{200, 500} {
		bustest.Eventually(t, "progress", func() bool { return published.Load() >= at })
		s.Restart()
	}
	wait.Wait()
	seen := map[string]int{}
	for _, d := range bustest.ReadAll(t, b, "S", "") {
		seen[d.Header(bus.HeaderID)]++
	}
	if len(seen) != publishers*each {
		t.Errorf("%d of %d messages are stored", len(seen), publishers*each)
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
}

func TestDeletedStreamIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := s.Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	s.DeleteStream(t, "S")
	publish(t, b, bus.Msg{Subject: "s.a"})
	if got := len(bustest.ReadAll(t, b, "S", "")); got != 1 {
		t.Errorf("%d messages are stored, want 1", got)
	}
}

func TestProvision(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := s.Connect(t, "test")

	t.Run("race", func(t *testing.T) {
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				other := s.Connect(t, fmt.Sprint(i))
				err := other.Provision(t.Context(), bus.StreamSpec{Name: "R", Subjects: []string{"r.>"}, MaxBytes: 1 << 20, MaxAge: time.Hour})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	})
	t.Run("change", func(t *testing.T) {
		for _, subjects := range [][]string{{"c.a"}, {"c.a", "c.b"}} {
			provision(t, b, bus.StreamSpec{Name: "C", Subjects: subjects})
		}
		publish(t, b, bus.Msg{Subject: "c.b"})
	})
	t.Run("what the spec does not tell stays", func(t *testing.T) {
		provision(t, b, bus.StreamSpec{Name: "K", Subjects: []string{"k.a"}})
		s.EditStream(t, "K", func(c *jetstream.StreamConfig) {
			c.Description, c.Compression, c.MaxMsgSize, c.MaxAge = "ours", jetstream.S2Compression, 9000, time.Hour
		})
		provision(t, b, bus.StreamSpec{Name: "K", Subjects: []string{"k.a", "k.b"}, MaxBytes: 1 << 20})
		got := s.EditStream(t, "K", nil)
		got.Metadata = nil // the server's
		want := got
		want.Description, want.Compression, want.MaxMsgSize = "ours", jetstream.S2Compression, 9000
		want.Subjects, want.MaxBytes, want.MaxAge = []string{"k.a", "k.b"}, -1, time.Hour
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("limits that are given are put in force", func(t *testing.T) {
		for _, size := range []int64{1 << 20, 2 << 20} {
			provision(t, b, bus.StreamSpec{Name: "L", Subjects: []string{"l.a"}, MaxBytes: size, MaxAge: time.Hour, Given: true})
			if got := s.EditStream(t, "L", nil); got.MaxBytes != size || got.MaxAge != time.Hour {
				t.Errorf("%d bytes, %v", got.MaxBytes, got.MaxAge)
			}
		}
	})
	t.Run("metadata of ours is replaced, that of others stays", func(t *testing.T) {
		spec := bus.StreamSpec{Name: "M", Subjects: []string{"m.a"}, Metadata: map[string]string{"busbar.a": "1", "busbar.b": "2"}}
		provision(t, b, spec)
		s.EditStream(t, "M", func(c *jetstream.StreamConfig) { c.Metadata["theirs"] = "x" })
		spec.Metadata = map[string]string{"busbar.b": "3"}
		provision(t, b, spec)
		spec.Metadata = nil
		provision(t, b, spec)
		got := s.EditStream(t, "M", nil).Metadata
		maps.DeleteFunc(got, func(key, _ string) bool { return strings.HasPrefix(key, "_nats") })
		if diff := cmp.Diff(map[string]string{"busbar.b": "3", "theirs": "x"}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("short age bounds the deduplication window", func(t *testing.T) {
		provision(t, b, bus.StreamSpec{Name: "A", Subjects: []string{"a.>"}, MaxAge: time.Second})
	})
	t.Run("overlap is an error that names the stream", func(t *testing.T) {
		err := b.Provision(t.Context(), bus.StreamSpec{Name: "O", Subjects: []string{"c.>"}})
		if err == nil || !strings.Contains(err.Error(), "provision stream O: ") {
			t.Errorf("got %v", err)
		}
	})
}
