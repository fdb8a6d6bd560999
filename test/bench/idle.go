// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

const (
	idleSettle = 15 * time.Second
	idleWindow = 30 * time.Second
)

// benchIdle measures what `busbar up` costs while nothing happens.
func benchIdle(ctx context.Context, out io.Writer, dir string) error {
	at, err := free(3)
	if err != nil {
		return err
	}
	up, err := launch(ctx, filepath.Join(dir, "busbar"), "up", "--data-dir", filepath.Join(dir, "data"),
		"--nats-listen", at[0], "--prometheus", at[1], "--admin", at[2])
	if err != nil {
		return err
	}
	defer up.stop()
	if err := ready(ctx, up, at[2]); err != nil {
		return err
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	before, err := cpuTime(up.pid())
	if err != nil {
		return err
	}
	if err := pause(ctx, idleWindow); err != nil {
		return err
	}
	after, err := cpuTime(up.pid())
	if err != nil {
		return err
	}
	rss, err := residentKiB(up.pid())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "busbar up, idle: %.2f %% of a core over %v (target 1 %%), %.1f MiB resident (target 200 MiB)\n",
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
