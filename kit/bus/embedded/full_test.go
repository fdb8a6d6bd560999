// SPDX-License-Identifier: Apache-2.0

package embedded_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
)

// TestFullDisk fills a small file system, so that the server cannot store, and then makes room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 36<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(embedded.Options{Port: -1, StoreDir: filepath.Join(dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	b, err := bus.Connect(t.Context(), bus.Config{Name: "process", InProcess: s}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Provision(t.Context(), bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 256<<10)
	_, _ = rand.Read(data)
	stored := 0
	publish := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := b.Publish(ctx, bus.Msg{Subject: "s.a", ID: strconv.Itoa(stored), Data: data})
		if err == nil {
			stored++
		}
		return err
	}
	for err == nil {
		err = publish(2 * time.Second)
	}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, bus.ErrFull) || stored == 0 {
		t.Fatalf("got %v after %d messages", err, stored)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for err = publish(5 * time.Second); err != nil && time.Now().Before(deadline); err = publish(5 * time.Second) {
	}
	if err != nil {
		t.Fatalf("there is room, and still: %v", err)
	}
	got := 0
	if err := b.Replay(t.Context(), "S", "", func(*bus.Delivery) error { got++; return nil }); err != nil || got != stored {
		t.Errorf("%d messages are there of %d that were stored, %v", got, stored, err)
	}
}
