// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestConnectTellsURLAndCause(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // nobody listens there now

	for _, tt := range []struct {
		name, url string
		want      []string
	}{
		{"refused", "nats://" + addr, []string{"connect to NATS at nats://" + addr + ": ", "refused"}},
		{"password is not shown", "nats://joe:secret@" + addr, []string{"nats://redacted@" + addr, "refused"}},
		{"several", "nats://" + addr + ",nats://u:p@" + addr, []string{"nats://" + addr + ",nats://redacted@" + addr}},
		{"no URL", "", []string{"no URL is given"}},
		{"malformed", "nats://joe:secret@%zz", []string{"(malformed URL)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := bus.Connect(t.Context(), bus.Config{URL: tt.url, Name: "test"}, quiet())
			if err == nil {
				t.Fatal("connected to nothing")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not have %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

func TestConnectWaits(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	s.Stop()
	cfg := s.Config("test")
	cfg.Wait = time.Minute
	connected := make(chan error, 1)
	go func() {
		b, err := bus.Connect(t.Context(), cfg, quiet())
		if err == nil {
			b.Close()
		}
		connected <- err
	}()
	s.Start()
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
}

func TestConnectEndsWithContext(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	s.Stop()
	cfg := s.Config("test")
	cfg.Wait = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := bus.Connect(ctx, cfg, quiet()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestReadyFollowsTheConnection(t *testing.T) {
	t.Parallel()
	s := bustest.Listen(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: s.URL(), Name: "test"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	bustest.Eventually(t, "not ready", func() bool { return errors.Is(b.Ready(), bus.ErrDisconnected) })
	s.Start()
	bustest.Eventually(t, "ready again", func() bool { return b.Ready() == nil })
}

func TestCloseWhileDisconnected(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := s.Connect(t, "test")
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	s.Stop()
	bustest.Eventually(t, "not ready", func() bool { return b.Ready() != nil })
	result := make(chan error, 1)
	if err := b.PublishAsync(bus.Msg{Subject: "s.a", Data: []byte("x")}, func(err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := <-result; !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("publication ended with %v", err)
	}
	if err := b.Publish(t.Context(), bus.Msg{Subject: "s.a"}); !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("publish after close: %v", err)
	}
}

func provision(t testing.TB, b *bus.Bus, specs ...bus.StreamSpec) {
	t.Helper()
	if err := b.Provision(t.Context(), specs...); err != nil {
		t.Fatal(err)
	}
}

func publish(t testing.TB, b *bus.Bus, msgs ...bus.Msg) {
	t.Helper()
	if err := b.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}
