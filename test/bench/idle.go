// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

const (
	idleSettle = 15 * time.Second
	idleWindow = 30 * time.Second
)

// benchIdle measures what `busbar up` costs while nothing happens.
func benchIdle(ctx context.Context, out io.Writer, dir, bin string) error {
	at, err := child.Free(3)
	if err != nil {
		return err
	}
	up, err := child.Launch(ctx, filepath.Join(bin, "busbar"), "up", "--data-dir", filepath.Join(dir, "data"),
		"--nats-listen", at[0], "--prometheus", at[1], "--admin", at[2])
	if err != nil {
		return err
	}
	defer up.Stop()
	if err := child.Ready(ctx, up, at[2]); err != nil {
		return err
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	before, err := child.CPUTime(up.PID())
	if err != nil {
		return err
	}
	if err := pause(ctx, idleWindow); err != nil {
		return err
	}
	after, err := child.CPUTime(up.PID())
	if err != nil {
		return err
	}
	rss, err := child.ResidentKiB(up.PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## `busbar up`, idle\n\n%.2f %% of a core over %v (target 1 %%), %.1f MiB resident (target 200 MiB).\n",
		100*float64(after-before)/float64(idleWindow), idleWindow, float64(rss)/1024)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
