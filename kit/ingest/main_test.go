// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
)

// roleVar makes this binary another program, for tests that kill one.
const roleVar = "BUSBAR_INGEST_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, argument, _ := strings.Cut(os.Getenv(roleVar), " "); role {
	case "writer":
		fmt.Fprintln(os.Stderr, writer(argument))
		os.Exit(1)
	case "server":
		fmt.Fprintln(os.Stderr, server(argument))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// writer puts messages in a queue until it is killed, and prints the number of each that was acknowledged. Several write at a time.
func writer(dir string) error {
	q, err := openQueue(dir, 1<<30, func(int) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	const writers = 4
	failed := make(chan error)
	for w := range writers {
		go func() {
			for i := w; ; i += writers {
				if err := q.put([]bus.Msg{message(i, 100)}); err != nil {
					failed <- err
				}
				fmt.Println(i)
			}
		}()
	}
	return <-failed
}

// server is a NATS server on a port, until it is killed.
func server(argument string) error {
	port, dir, _ := strings.Cut(argument, " ")
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	s, err := embedded.Start(embedded.Options{Port: n, StoreDir: dir})
	if err != nil {
		return err
	}
	fmt.Println(s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, errors.New("the test is over"))
}

// launch starts this binary in a role. Its output can be read by line.
func launch(t *testing.T, role string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func message(i, size int) bus.Msg {
	return bus.Msg{
		Subject: "busbar.otlp.traces.default._.shop", ID: strconv.Itoa(i), Header: map[string]string{"Busbar-Source": "test"},
		Items: i + 1, Data: []byte(strings.Repeat(strconv.Itoa(i%10), size)), Encoding: bus.EncodingIdentity,
	}
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
}
