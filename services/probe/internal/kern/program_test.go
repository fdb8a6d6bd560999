// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	elffile "github.com/busbar/busbar/services/probe/internal/hook"
)

// program starts a program that is observed and has its TLS libraries hooked before it does anything of interest: it must print
// a line when it has loaded them, and then wait for one. It returns what else it prints.
type program struct {
	cmd    *exec.Cmd
	stdin  *os.File
	lines  *bufio.Reader
	stderr bytes.Buffer
}

func (k *Kern) launch(t *testing.T, name string, args ...string) *program {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	p := &program{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)}
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	p.cmd.Stdin, p.cmd.Stderr = in, &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.line(t)
	pid := uint32(p.cmd.Process.Pid)
	if err := k.Decide(pid, Verdict{Observe: true, TLS: true}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) line(t *testing.T) string {
	t.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v\n%s", p.cmd.Args, err, p.stderr.String())
	}
	return strings.TrimSpace(line)
}

func (p *program) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		t.Fatal(err)
	}
}

// hookFile hooks the TLS functions of a file for the length of the test.
func (k *Kern) hookFile(t *testing.T, path string) {
	t.Helper()
	found, err := elffile.Places(path, TLSFunctions())
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v %v", path, found, err)
	}
	c, err := k.AttachTLS(path, found)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
