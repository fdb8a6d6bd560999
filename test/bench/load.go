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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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
}

// runLoad makes a load in a process of its own on the first processor and returns how many requests were answered.
func runLoad(ctx context.Context, l load) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-c", "0", self, "-load", string(args)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run the load: %w\n%s", err, out)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// make makes the requests and returns how many were answered.
func (l load) make(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Window)
	defer cancel()
	var (
		workers sync.WaitGroup
		total   atomic.Int64
		mu      sync.Mutex
		failure error
	)
	for i := range loadConnections {
		workers.Go(func() {
			n, err := l.keepAsking(ctx, time.Duration(i)*time.Second/time.Duration(l.Rate))
			total.Add(int64(n))
			mu.Lock()
			defer mu.Unlock()
			failure = errors.Join(failure, err)
		})
	}
	workers.Wait()
	return int(total.Load()), failure
}

func (l load) dial(ctx context.Context) (net.Conn, error) {
	if l.TLS {
		return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", l.Address) //nolint:gosec // Its own server.
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.Address)
}

// keepAsking makes requests on one connection, each at its time; one that is late is made at once.
func (l load) keepAsking(ctx context.Context, offset time.Duration) (int, error) {
	c, err := l.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
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
