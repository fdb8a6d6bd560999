// SPDX-License-Identifier: Apache-2.0

// Package forward sends requests on, unchanged, to where they went before, so that what comes of them there and here can be compared. It
// never delays a client: requests wait in a bounded queue, and what is beyond is counted.
package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/metric"
)

// Kinds of requests that addresses are given for.
const (
	API     = "api"     // metrics, events, checks, metadata
	Logs    = "logs"    // of Agents and browsers
	Traces  = "traces"  // of Agents, and their statistics
	Tracers = "tracers" // requests that are meant for an Agent
)

const (
	maxWaiting = 512      // requests
	maxBytes   = 16 << 20 // of their bodies
	workers    = 4
	timeout    = 10 * time.Second
	maxAnswer  = 1 << 20
)

// Forwarder sends requests on.
type Forwarder struct {
	to      map[string]*url.URL
	service string
	drops   *metric.Drops
	log     *slog.Logger
	queue   chan *request
	bytes   atomic.Int64
	client  *http.Client
}

type request struct {
	method, address string
	header          http.Header
	body            []byte
}

// New returns a Forwarder to addresses by kind, or nil without any.
func New(to map[string]string, service string, drops *metric.Drops, log *slog.Logger) (*Forwarder, error) {
	if len(to) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to do
	}
	f := &Forwarder{
		to: map[string]*url.URL{}, service: service, drops: drops, log: log, queue: make(chan *request, maxWaiting),
		client: &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	for _, kind := range slices.Sorted(maps.Keys(to)) {
		u, err := url.Parse(to[kind])
		switch {
		case !slices.Contains([]string{API, Logs, Traces, Tracers}, kind):
			return nil, fmt.Errorf("forward %q: want api, logs, traces or tracers", kind)
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return nil, fmt.Errorf("forward %s: %q is not an address such as https://api.example", kind, to[kind])
		}
		f.to[kind] = u
	}
	return f, nil
}

// Parse reads "api=https://…,logs=https://…".
func Parse(text string) (map[string]string, error) {
	to := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		kind, address, ok := strings.Cut(part, "=")
		if !ok {
			return nil, errors.New("want KIND=URL, several parted by commas; KIND is api, logs, traces or tracers")
		}
		to[kind] = address
	}
	return to, nil
}

func kind(path string, tracer bool) string {
	switch {
	case tracer:
		return Tracers
	case strings.HasPrefix(path, "/api/v0.2/"):
		return Traces
	case path == "/api/v2/logs" || strings.HasPrefix(path, "/v1/input"):
		return Logs
	}
	return API
}

// Send has a request sent on. It does not wait.
func (f *Forwarder) Send(r *http.Request, tracer bool, body []byte) {
	to := f.to[kind(r.URL.Path, tracer)]
	if to == nil {
		return
	}
	if f.bytes.Add(int64(len(body))) > maxBytes {
		f.bytes.Add(-int64(len(body)))
		f.drops.Add(f.service, "forward_full", 1)
		return
	}
	u := *to
	u.Path, u.RawPath, u.RawQuery = strings.TrimSuffix(to.Path, "/")+r.URL.Path, "", r.URL.RawQuery
	header := r.Header.Clone()
	for _, hop := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		header.Del(hop)
	}
	select {
	case f.queue <- &request{r.Method, u.String(), header, bytes.Clone(body)}:
	default:
		f.bytes.Add(-int64(len(body)))
		f.drops.Add(f.service, "forward_full", 1)
	}
}

// Run sends until ctx ends. What waits then is counted and gone.
func (f *Forwarder) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case r := <-f.queue:
					f.send(ctx, r)
				}
			}
		})
	}
	wait.Wait()
	f.drops.Add(f.service, "forward_ended", len(f.queue))
	f.client.CloseIdleConnections()
	return nil
}

// send sends a request, once: whoever compares may miss one, but must not have one twice.
func (f *Forwarder) send(ctx context.Context, r *request) {
	defer f.bytes.Add(-int64(len(r.body)))
	req, err := http.NewRequestWithContext(ctx, r.method, r.address, bytes.NewReader(r.body))
	if err != nil {
		f.drops.Add(f.service, "forward_failed", 1)
		return
	}
	req.Header = r.header
	answer, err := f.client.Do(req)
	if err != nil {
		f.drops.Add(f.service, "forward_failed", 1)
		f.log.Debug("request cannot be sent on", "error", err)
		return
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	if answer.StatusCode >= http.StatusBadRequest {
		f.drops.Add(f.service, "forward_refused", 1)
	}
}
