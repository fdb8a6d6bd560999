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
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
)

const (
	churnPath  = "/churn"
	connecting = 4 // workers that make a connection for each request
	spawning   = 2 // workers that start a process for each
)

// makeChurn makes requests until ctx ends, each on a connection of its own, some from a process of their own, and prints how many
// were answered. A request that was begun is finished, so that both sides count alike.
func makeChurn(ctx context.Context, address string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var (
		workers  sync.WaitGroup
		answered atomic.Int64
		mu       sync.Mutex
		failure  error
	)
	work := func(one func() error) {
		for ctx.Err() == nil {
			if err := one(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failure = errors.Join(failure, err)
				return
			}
			answered.Add(1)
		}
	}
	whole := context.WithoutCancel(ctx)
	for range connecting {
		workers.Go(func() { work(func() error { return ask(whole, address) }) })
	}
	for range spawning {
		workers.Go(func() {
			work(func() error { return exec.CommandContext(whole, self, "-once", address).Run() })
		})
	}
	workers.Wait()
	fmt.Println(answered.Load())
	return failure
}

// ask makes one request on a connection of its own.
func ask(ctx context.Context, address string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	// Ports in TIME_WAIT would run out within a minute.
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET "+churnPath+" HTTP/1.1\r\nHost: "+address+"\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
