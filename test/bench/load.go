// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Load at a fixed rate. A client that waits for each answer before it asks again adapts to the server, and the server's
// time per request to how often the client has fallen asleep meanwhile: on two processors such a loop measures mostly
// who wakes whom. At a rate that both can do, the server does the same work in every variant.
const (
	loadConnections = 16
	loadRate        = 20000 // requests a second, all connections together
)

// fixedLoad makes requests to the server at loadRate for a while and returns how many were answered.
func fixedLoad(ctx context.Context, address string, d time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var (
		workers sync.WaitGroup
		total   atomic.Int64
		mu      sync.Mutex
		failure error
	)
	for i := range loadConnections {
		workers.Go(func() {
			n, err := keepAsking(ctx, address, time.Duration(i)*time.Second/loadRate)
			total.Add(int64(n))
			mu.Lock()
			defer mu.Unlock()
			failure = errors.Join(failure, err)
		})
	}
	workers.Wait()
	return int(total.Load()), failure
}

// keepAsking makes requests on one connection, each at its time; one that is late is made at once.
func keepAsking(ctx context.Context, address string, offset time.Duration) (int, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	request := []byte("GET /hello HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	answers := bufio.NewReader(c)
	next := time.Now().Add(offset)
	for n := 0; ; n++ {
		if err := pause(ctx, time.Until(next)); err != nil {
			return n, nil //nolint:nilerr // The time is over.
		}
		next = next.Add(loadConnections * time.Second / loadRate)
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
