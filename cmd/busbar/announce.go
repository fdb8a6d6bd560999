// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
)

const (
	readyPoll = 20 * time.Millisecond
	readyLate = 15 * time.Second // after which it is worth a word
)

func errNotStarted() error { return errors.New("not started") }

// accepts finds out whether somebody listens on an address of this machine.
func accepts(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// announce tells people what runs and where, once all of it is ready.
func (s *settings) announce(health *admin.Admin, stdout io.Writer, log *slog.Logger) stage {
	return stage{"start", func(ctx context.Context) error {
		tick := time.NewTicker(readyPoll)
		defer tick.Stop()
		late := time.After(readyLate)
		for health.Ready() != nil {
			select {
			case <-tick.C:
			case <-late:
				log.Warn("not everything is ready yet", "waiting_for", health.Ready())
			case <-ctx.Done():
				return nil
			}
		}
		fmt.Fprint(stdout, s.summary())
		<-ctx.Done()
		return nil
	}}
}

func (s *settings) summary() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(&b, "Busbar %s is running on %s.\n", run.Version(), s.node)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("observes", "%s", s.observes())
	if taken := s.inlets.summary(); taken != "" {
		row("takes", "%s", taken)
	}
	if s.prometheus != off {
		row("metrics", "http://%s/metrics", reachable(s.prometheus))
	}
	if s.otlp != "" {
		row("sends", "everything to %s", redacted(s.otlp))
	}
	if s.nats != off {
		row("bus", "nats://%s, subjects %s.> (watch: busbar tap 'otlp.>')", reachable(s.nats), s.bus.Root)
	}
	row("data", "%s", s.dataDir)
	if s.admin != off {
		row("health", "http://%s/readyz, /metrics", reachable(s.admin))
	}
	_ = w.Flush() // into memory
	return b.String()
}

// observes says what the probe does.
func (s *settings) observes() string {
	tier := s.attached.Load()
	switch {
	case tier == nil:
		return "nothing itself: the probe is off"
	case len(s.resources) > 0:
		return fmt.Sprintf("what Instrumentation resources in %s select, or every process (tier %s)", &s.resources, *tier)
	}
	return fmt.Sprintf("HTTP/1.x of every process but itself (tier %s)", *tier)
}

// redacted hides a password in a URL.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text // host:port
	}
	return u.Redacted()
}

// reachable makes an address to listen on one to connect to.
func reachable(address string) string {
	if strings.HasPrefix(address, ":") {
		return "localhost" + address
	}
	return address
}
