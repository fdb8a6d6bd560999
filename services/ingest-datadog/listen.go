// SPDX-License-Identifier: Apache-2.0

package ingestdatadog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/kit/run"
)

// servers serve HTTP: on a port, and on a unix socket.
type servers struct {
	port   *ingest.Server
	socket *http.Server
	at     net.Listener
	path   string
}

const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 5 * time.Minute
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 3 * time.Second
)

// listen opens the port and the socket.
func (s *service) listen(ctx context.Context, handler http.Handler) (*servers, error) {
	v := &servers{path: s.Socket}
	if s.Address != "" {
		tls, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		v.port, err = ingest.Listen(ctx, ingest.ServerConfig{
			Address: s.Address, TLS: tls, Handler: handler, Service: Service, Metrics: s.Config.Bus.Metrics, Log: s.log,
		})
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	if s.Socket == "" {
		return v, nil
	}
	if err := removeSocket(s.Socket); err != nil {
		return nil, err
	}
	at, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.Socket)
	if err == nil {
		err = os.Chmod(s.Socket, 0o722) //nolint:gosec // everybody may write, as with the Agent's
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	v.at = at
	v.socket = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return v, nil
}

// removeSocket removes what a process that has died left at a path.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil { //nolint:noctx // does not block
		_ = c.Close()
		return fmt.Errorf("%s is in use", path)
	}
	return os.Remove(path)
}

// addr is the address of the port, or nil.
func (v *servers) addr() net.Addr {
	if v.port == nil {
		return nil
	}
	return v.port.Addr()
}

// run serves until ctx ends.
func (v *servers) run(ctx context.Context) error {
	var group run.Group
	if v.port != nil {
		group.Add("port", v.port.Run)
	}
	if v.socket != nil {
		group.Add("socket", v.serveSocket)
	}
	group.Add("end", func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
	return group.Run(ctx)
}

func (v *servers) serveSocket(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if v.socket.Shutdown(ctx) != nil {
			_ = v.socket.Close()
		}
	})
	defer stop()
	if err := v.socket.Serve(v.at); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
