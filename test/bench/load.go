// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

const loadConnections = 16

// load is requests at a fixed rate. A client that waits for each answer before it asks again adapts to the server, and the
// server's time per request to how often the client has fallen asleep meanwhile: on two processors such a loop measures mostly
// who wakes whom. At a rate that both can do, the server does the same work in every variant.
type load struct {
	Address, Path string
	Rate          int // requests a second, all connections together
	TLS           bool
	Window        time.Duration
	PID           int // of the server
}

// answer is what a load comes to.
type answer struct {
	Requests int
	CPU      time.Duration // that the server took meanwhile
}

// runLoad makes a load in a process of its own on the first processor.
func runLoad(ctx context.Context, l load) (answer, error) {
	var a answer
	self, err := os.Executable()
	if err != nil {
		return a, err
	}
	args, err := json.Marshal(l)
	if err != nil {
		return a, err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-c", "0", self, "-load", string(args)).CombinedOutput()
	if err != nil {
		return a, fmt.Errorf("run the load: %w\n%s", err, out)
	}
	return a, json.Unmarshal(out, &a)
}

// make makes the requests. Its time, and the server's, begins when all connections are there.
func (l load) make(ctx context.Context) (answer, error) {
	var connections []net.Conn
	for range loadConnections {
		c, err := l.dial(ctx)
		if err != nil {
			return answer{}, err
		}
		defer func() { _ = c.Close() }()
		connections = append(connections, c)
	}
	before, err := child.CPUTime(l.PID)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.Window)
	defer cancel()
	var (
		workers sync.WaitGroup
		total   atomic.Int64
		mu      sync.Mutex
		failure error
	)
	for i, c := range connections {
		workers.Go(func() {
			n, err := l.keepAsking(ctx, c, time.Duration(i)*time.Second/time.Duration(l.Rate))
			total.Add(int64(n))
			mu.Lock()
			defer mu.Unlock()
			failure = errors.Join(failure, err)
		})
	}
	workers.Wait()
	after, err := child.CPUTime(l.PID)
	if total.Load() == 0 && failure == nil {
		failure = errors.New("no request was answered")
	}
	return answer{int(total.Load()), after - before}, errors.Join(failure, err)
}

func (l load) dial(ctx context.Context) (net.Conn, error) {
	if l.TLS {
		return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", l.Address) //nolint:gosec // Its own server.
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.Address)
}

// keepAsking makes requests on one connection, each at its time; one that is late is made at once.
func (l load) keepAsking(ctx context.Context, c net.Conn, offset time.Duration) (int, error) {
	request := []byte("GET " + l.Path + " HTTP/1.1\r\nHost: " + l.Address + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	answers := bufio.NewReaderSize(c, 64<<10)
	next := time.Now().Add(offset)
	for n := 0; ; n++ {
		if err := pause(ctx, time.Until(next)); err != nil {
			return n, nil //nolint:nilerr // The time is over.
		}
		next = next.Add(loadConnections * time.Second / time.Duration(l.Rate))
		if _, err := c.Write(request); err != nil {
			return n, err
		}
		if err := readAnswer(answers); err != nil {
			return n, err
		}
	}
}

func readAnswer(r *bufio.Reader) error {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
