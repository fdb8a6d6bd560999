// SPDX-License-Identifier: Apache-2.0

// Command endurance makes connections and processes come and go beside a probe as fast as the machine can, and fails unless the
// probe's memory, the kernel's for it and its files stay flat, and every exchange is published once or counted as lost.
//
//	go run ./test/endurance [-for 10m] [-tier auto]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

func main() {
	length := flag.Duration("for", 10*time.Minute, "how long")
	tier := flag.String("tier", "auto", "tier of the probe")
	churn := flag.String("churn", "", "only make requests to this `address` until told to end, and print how many were answered")
	once := flag.String("once", "", "only make one request to this `address`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *once != "":
		err = ask(ctx, *once)
	case *churn != "":
		err = makeChurn(ctx, *churn)
	default:
		err = run(ctx, os.Stdout, *length, *tier)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "endurance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, length time.Duration, tier string) error {
	dir, err := os.MkdirTemp("", "endurance-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := child.Build(ctx, dir, map[string]string{
		"busbar-probe": "github.com/busbar/busbar/services/probe/cmd/busbar-probe",
		"goserver":     "github.com/busbar/busbar/test/e2e/goserver",
		"nats-server":  "github.com/nats-io/nats-server/v2",
	}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "only.yaml")
	resource := fmt.Sprintf("apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: endurance}\nspec: {select: [{exe: %q}, {exe: %q}]}\n",
		self, filepath.Join(dir, "goserver"))
	if err := os.WriteFile(config, []byte(resource), 0o600); err != nil {
		return err
	}
	at, err := child.Free(3)
	if err != nil {
		return err
	}
	nats, err := child.Launch(ctx, filepath.Join(dir, "nats-server"), "-a", "127.0.0.1", "-p", child.Port(at[0]), "-js", "-sd", filepath.Join(dir, "js"))
	if err != nil {
		return err
	}
	defer nats.Stop()
	server, err := child.Launch(ctx, filepath.Join(dir, "goserver"), "-listen", at[1])
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := child.Listening(ctx, at[0], at[1]); err != nil {
		return err
	}
	bus, err := listen(ctx, "nats://"+at[0])
	if err != nil {
		return err
	}
	defer bus.close()
	probe, err := child.Launch(ctx, filepath.Join(dir, "busbar-probe"), "--nats-url", "nats://"+at[0], "--admin", at[2], "--config", config, "--tier", tier)
	if err != nil {
		return err
	}
	defer probe.Stop()
	if err := child.Ready(ctx, probe, at[2]); err != nil {
		return err
	}
	answered, samples, err := churnBeside(ctx, out, self, at[1], probe, length)
	if err != nil {
		return err
	}
	probe.Stop() // It publishes what it has.
	return errors.Join(flat(samples), bus.balance(out, answered))
}

// churnBeside runs the churn for a while. It returns how many requests were answered, and what the probe took meanwhile.
func churnBeside(ctx context.Context, out io.Writer, self, address string, probe *child.Child, length time.Duration) (int, []sample, error) {
	churn, err := child.Launch(ctx, self, "-churn", address)
	if err != nil {
		return 0, nil, err
	}
	defer churn.Stop()
	end := time.NewTimer(length)
	defer end.Stop()
	tick := time.NewTicker(max(length/60, time.Second))
	defer tick.Stop()
	var samples []sample
	for running := true; running; {
		select {
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		case <-end.C:
			running = false
		case <-tick.C:
			if err := errors.Join(churn.Ended(), probe.Ended()); err != nil {
				return 0, nil, err
			}
			s, err := sampleOf(probe.PID())
			if err != nil {
				return 0, nil, err
			}
			samples = append(samples, s)
			fmt.Fprintln(out, s)
		}
	}
	churn.Stop()
	answered, err := strconv.Atoi(strings.TrimSpace(churn.Log()))
	if err != nil {
		return 0, nil, fmt.Errorf("the churn failed:\n%s", churn.Log())
	}
	return answered, samples, nil
}
