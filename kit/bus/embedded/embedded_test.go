// SPDX-License-Identifier: Apache-2.0

package embedded_test

import (
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	taken, _ := strconv.Atoi(port)

	used := t.TempDir()
	s, err := embedded.Start(embedded.Options{DontListen: true, StoreDir: used})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)

	for _, tt := range []struct {
		name    string
		options embedded.Options
		want    []string
	}{
		{"port in use", embedded.Options{Port: taken, StoreDir: t.TempDir()}, []string{"start NATS server: ", l.Addr().String(), "address already in use"}},
		{"address of another host", embedded.Options{Host: "192.0.2.1", Port: -1, StoreDir: t.TempDir()}, []string{"192.0.2.1"}},
		{"directory in use", embedded.Options{DontListen: true, StoreDir: used}, []string{used, "in use by another server"}},
		{"no directory", embedded.Options{DontListen: true}, []string{"no data directory"}},
		{"directory is a file", embedded.Options{DontListen: true, StoreDir: "embedded_test.go"}, []string{"embedded_test.go", "not a directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := embedded.Start(tt.options)
			if err == nil {
				s.Shutdown()
				t.Fatal("started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not have %q", err, want)
				}
			}
		})
	}
}

func TestDataOutlivesTheServer(t *testing.T) {
	t.Parallel()
	options := embedded.Options{Port: -1, StoreDir: t.TempDir(), MaxStore: 1 << 30}
	session := func(do func(*bus.Bus) error) {
		t.Helper()
		s, err := embedded.Start(options)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		for _, cfg := range []bus.Config{{Name: "socket", URL: s.ClientURL()}, {Name: "process", InProcess: s}} {
			b, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := do(b); err != nil {
				t.Error(err)
			}
			b.Close()
		}
	}
	session(func(b *bus.Bus) error {
		if err := b.Provision(t.Context(), bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 1 << 20}); err != nil {
			return err
		}
		return b.Publish(t.Context(), bus.Msg{Subject: "s.a"})
	})
	session(func(b *bus.Bus) error {
		n := 0
		err := b.Replay(t.Context(), "S", "", func(*bus.Delivery) error { n++; return nil })
		if n != 2 {
			t.Errorf("%d messages are stored, want 2", n)
		}
		return err
	})
}
