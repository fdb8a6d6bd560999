// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// dialer opens connections for the client and remembers why it could not: the client itself says "no servers available".
type dialer struct {
	inProcess InProcess

	mu   sync.Mutex
	last error
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).Dial(network, address)
	d.remember(err)
	return conn, err
}

// InProcessConn implements nats.InProcessConnProvider.
func (d *dialer) InProcessConn() (net.Conn, error) {
	conn, err := d.inProcess.InProcessConn()
	d.remember(err)
	return conn, err
}

func (d *dialer) remember(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
}

// explain returns the error of the client, or what was behind it, without the URL, which may hold a password.
func (d *dialer) explain(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, nats.ErrNoServers) && d.last != nil {
		return d.last
	}
	if malformed, ok := errors.AsType[*url.Error](err); ok {
		return malformed.Err
	}
	return err
}

// dial makes attempts until one succeeds, cfg.Wait is over or ctx ends.
func (b *Bus) dial(ctx context.Context, cfg Config) error {
	d := &dialer{inProcess: cfg.InProcess}
	options, err := b.options(cfg, d)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(cfg.Wait)
	for {
		b.nc, err = nats.Connect(cfg.URL, options...)
		if err == nil {
			return nil
		}
		err = d.explain(err)
		if time.Now().Add(reconnectWait).After(deadline) || errors.Is(err, nats.ErrAuthorization) {
			return err
		}
		select {
		case <-time.After(reconnectWait):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (b *Bus) options(cfg Config, d *dialer) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.IgnoreAuthErrorAbort(), // credentials may be rotated under a running process
		nats.DrainTimeout(drainTimeout),
		nats.PingInterval(20 * time.Second),
		nats.DisconnectErrHandler(b.onDisconnect),
		nats.ReconnectHandler(b.onReconnect),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.ErrorHandler(b.onError),
	}
	if cfg.Creds != "" {
		options = append(options, nats.UserCredentials(cfg.Creds))
	}
	switch {
	case cfg.InProcess != nil:
		options = append(options, nats.InProcessServer(d))
	case cfg.URL == "":
		return nil, errors.New("no URL is given")
	default:
		options = append(options, nats.SetCustomDialer(d))
	}
	return options, nil
}

// address names the server of cfg for an error, without credentials.
func address(cfg Config) string {
	if cfg.InProcess != nil {
		return "this process"
	}
	parts := strings.Split(cfg.URL, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil {
			parts[i] = "(malformed URL)" // may hold a password, so it is not shown
			continue
		}
		if u.User != nil {
			u.User = url.User("redacted")
		}
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}
