// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/busbar/busbar/kit/run"
)

// programVar names the program that the test binary is to be instead of running tests.
const programVar = "RUN_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if program, ok := programs[os.Getenv(programVar)]; ok {
		run.Main("program", program)
	}
	os.Exit(m.Run())
}

var programs = map[string]run.Func{
	"ends": func(_ context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
		_, _ = fmt.Fprint(stdout, args, env(programVar))
		return nil
	},
	"fails": func(context.Context, []string, func(string) string, io.Writer, io.Writer) error {
		return errors.New("no luck")
	},
	"helps": func(context.Context, []string, func(string) string, io.Writer, io.Writer) error { return flag.ErrHelp },
	"exits": func(context.Context, []string, func(string) string, io.Writer, io.Writer) error {
		return fmt.Errorf("check: %w", run.Exit(3))
	},
	"drains": drains,
	"hangs": func(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
		_ = drains(ctx, args, env, stdout, stderr)
		select {}
	},
}

// drains tells when it begins and when it has been asked to end.
func drains(ctx context.Context, _ []string, _ func(string) string, stdout, _ io.Writer) error {
	_, _ = fmt.Fprintln(stdout, "begun")
	<-ctx.Done()
	_, _ = fmt.Fprintln(stdout, "asked")
	return ctx.Err()
}

func TestMainStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		program        string
		status         int
		stdout, stderr string
	}{
		{"ends", 0, "[a b]ends", ""},
		{"fails", 1, "", "program: no luck\n"},
		{"helps", 0, "", ""},
		{"exits", 3, "", ""},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, tt.program, "a", "b")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("status %d, stdout %q, stderr %q", got, &stdout, &stderr)
			}
		})
	}
}

func TestMainSignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		program string
		signals []os.Signal
		status  int
	}{
		{"drains", []os.Signal{syscall.SIGTERM}, 0},
		{"drains", []os.Signal{os.Interrupt}, 0},
		{"hangs", []os.Signal{os.Interrupt, os.Interrupt}, 130},
	} {
		t.Run(fmt.Sprint(tt.program, tt.signals), func(t *testing.T) {
			t.Parallel()
			cmd := command(t, tt.program)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			for _, s := range tt.signals {
				lines.Scan() // "begun", then "asked"
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			for lines.Scan() {
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
		})
	}
}

func command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), programVar+"="+program)
	return cmd
}
