// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// TestCheckNamesEveryFault: each fault of a file has one line that says where and what.
func TestCheckNamesEveryFault(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "busbar"), "check", "testdata/bad.yaml").CombinedOutput()
	if err == nil {
		t.Error("check accepts a bad file")
	}
	for _, want := range []string{
		`testdata/bad.yaml:6:7: spec.select\[0\].openPort: unknown field`,
		`testdata/bad.yaml:13:14: spec.select\[0\].pids\[0\]: .*number`,
		`testdata/bad.yaml:20:\d+: spec.select\[0\].exe: .*`,
		`testdata/bad.yaml:26:\d+: spec.match: .*`,
		`testdata/bad.yaml:28:\d+: spec.steps\[0\].transform.statements\[0\]: .*`,
		`testdata/bad.yaml:29:8: spec.to\[0\]: .*nowhere.*`,
		`testdata/bad.yaml:37:\d+: spec.otlp_http.headers\["authorization"\]: .*/nonexistent/token.*`,
	} {
		if n := len(regexp.MustCompile(`(?m)^`+want).FindAll(out, -1)); n != 1 {
			t.Errorf("%d lines match %s", n, want)
		}
	}
	if t.Failed() {
		t.Logf("check printed:\n%s", out)
	}
}

// fails runs a program that must end by itself with status 1, and returns what it printed.
func fails(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Errorf("%v succeeds:\n%s", cmd.Args, out.String())
		}
	case <-time.After(60 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("%v runs on:\n%s", cmd.Args, out.String())
	}
	return out.String()
}

// says fails the test unless the last line, which is the error, holds every one of the words.
func says(t *testing.T, out string, words ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	for _, w := range words {
		if !strings.Contains(last, w) {
			t.Errorf("the error does not name %q:\n%s", w, out)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	taken := l.Addr().String()
	for _, flag := range []string{"--nats-listen", "--prometheus", "--admin"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			args := map[string]string{"--nats-listen": freeAddress(t), "--prometheus": freeAddress(t), "--admin": freeAddress(t), "--data-dir": t.TempDir()}
			args[flag] = taken
			says(t, fails(t, upCommand(t, args)), taken, "in use")
		})
	}
}

// upCommand is `busbar up --no-probe` with flags.
func upCommand(t *testing.T, flags map[string]string) *exec.Cmd {
	t.Helper()
	args := []string{"up", "--no-probe"}
	for k, v := range flags {
		args = append(args, k, v)
	}
	return exec.CommandContext(t.Context(), filepath.Join(bin, "busbar"), args...)
}

func TestBusUnreachable(t *testing.T) {
	t.Parallel()
	nowhere := "nats://" + freeAddress(t)
	for _, name := range []string{"busbar-probe", "busbar-enricher", "busbar-router", "busbar-exporter"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), "--nats-url", nowhere, "--admin", freeAddress(t))
			says(t, fails(t, cmd), nowhere, "refused")
		})
	}
}

// TestNoPrivilege runs `up` as nobody: it names what is missing, and --no-probe runs the rest.
func TestNoPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become nobody")
	}
	dir := t.TempDir()
	for _, d := range []string{bin, dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // nobody must get in.
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o777); err != nil { //nolint:gosec // nobody must write there.
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o777); err != nil { //nolint:gosec // In spite of the umask.
		t.Fatal(err)
	}
	nobody := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(os.Environ(), "HOME="+dir)
		return cmd
	}
	admin := freeAddress(t)
	args := []string{"up", "--data-dir", data, "--nats-listen", freeAddress(t), "--prometheus", freeAddress(t), "--admin", admin}
	says(t, fails(t, nobody(exec.CommandContext(t.Context(), filepath.Join(bin, "busbar"), args...))), "CAP_BPF", "CAP_PERFMON", "--no-probe")

	cmd := nobody(exec.CommandContext(t.Context(), filepath.Join(bin, "busbar"), append(args, "--no-probe")...))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, 60*time.Second, "up --no-probe to be ready", func() bool {
		code, _ := get(t, "http://"+admin+"/readyz")
		return code == 200
	})
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("up --no-probe ends with %v", err)
	}
}

// TestGarbageOnTheBus: what is not a batch goes to the dead letters, and real data passes.
func TestGarbageOnTheBus(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	s := allInOne(t, "--otlp", "grpc://"+b.grpc)
	c, err := bus.Connect(t.Context(), bus.Config{URL: s.nats, Name: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	root := subject.DefaultRoot
	for i, subj := range []string{
		root.RawExchange("elsewhere"), root.RawProcess("elsewhere"), root.OTLP(subject.Traces, "default", "", "liar"),
		root.OTLP(subject.Metrics, "default", "", "liar"), string(root) + ".otlp.nonsense", root.Out("otlp", subject.Traces, 0), string(root) + ".out.otlp.what",
	} {
		for j, data := range [][]byte{nil, []byte("garbage"), bytes.Repeat([]byte{0xff}, 5000)} {
			for k, encoding := range []string{"", "s2", "identity", "nonsense"} {
				m := bus.Msg{Subject: subj, ID: fmt.Sprint("garbage", i, j, k), Data: data, Encoding: encoding}
				if err := c.Publish(t.Context(), m); err != nil && encoding != "nonsense" {
					t.Fatalf("publish to %s: %v", subj, err)
				}
			}
		}
	}
	address := freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=shop-go"}, "goserver", "-listen", address)
	wait(t, 30*time.Second, "the server to listen", func() bool { return dials(address) })
	if code, _ := get(t, "http://"+address+"/after/the/garbage"); code != 200 {
		t.Fatalf("the server answers %d", code)
	}
	wait(t, 30*time.Second, "the span of a real request", func() bool {
		spans, _, _ := b.received()
		for _, sp := range spans {
			if sp.path == "/after/the/garbage" && sp.kind == "Server" {
				return true
			}
		}
		return false
	})
	wait(t, 30*time.Second, "dead letters", func() bool {
		_, metrics := get(t, s.admin+"/metrics")
		return regexp.MustCompile(`(?m)^busbar_\w*dead\w*\{.*\} [1-9]`).MatchString(metrics)
	})
	if code, body := get(t, s.admin+"/readyz"); code != 200 {
		t.Errorf("readyz says %d: %s", code, body)
	}
}
