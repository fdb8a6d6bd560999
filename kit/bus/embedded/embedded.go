// SPDX-License-Identifier: Apache-2.0

// Package embedded runs a NATS server with JetStream on local disk inside this process, for the all-in-one and for tests.
// Data survives a crash of the process; a loss of power can cost what was stored within the last SyncInterval. After the
// disk was full, which a stream does not get over by itself, the server starts anew as soon as there is room.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options configure a server. StoreDir is required.
type Options struct {
	Host         string        // address to listen on; default 127.0.0.1
	Port         int           // zero: 4222; -1: any free one
	DontListen   bool          // serve this process only
	StoreDir     string        // made if missing; used by one server at a time
	MaxStore     int64         // bytes on disk; zero: no limit but the streams' own
	SyncInterval time.Duration // how often written data is forced to disk; default 1 s
	Log          *slog.Logger  // nil: silent
}

const (
	defaultHost  = "127.0.0.1"
	defaultPort  = 4222
	startTimeout = 30 * time.Second // a large store takes a while to be read
	maxPayload   = 1 << 20          // twice the largest batch before compression
	maxMemory    = 32 << 20         // for streams in memory, of which Busbar has none
	noLimit      = 1 << 50          // bytes: more than any disk, as the server takes zero for "three quarters of it"
)

// Server is a running server. It satisfies bus.InProcess.
type Server struct {
	options Options
	log     *logger
	lock    *os.File
	stop    sync.Once
	ending  chan struct{} // closed by Shutdown
	keeper  sync.WaitGroup
	url     string

	mu   sync.Mutex
	nats *server.Server // nil while it starts anew
}

// Start starts a server and returns when it takes connections. The error names the address if it is in use, and the
// directory if another process uses it.
func Start(o Options) (*Server, error) {
	s, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	return s, nil
}

func start(o Options) (*Server, error) {
	if o.StoreDir == "" {
		return nil, errors.New("no data directory is given")
	}
	lock, err := lockDir(o.StoreDir)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, log: newLogger(o.Log), lock: lock, ending: make(chan struct{})}
	if s.nats, err = s.serve(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if !o.DontListen {
		if at, ok := s.nats.Addr().(*net.TCPAddr); ok {
			s.options.Port = at.Port // it is the same when the server starts anew
		}
	}
	s.url = s.nats.ClientURL()
	s.keeper.Go(s.keep)
	return s, nil
}

// serve starts a server of NATS and returns when it takes connections.
func (s *Server) serve() (*server.Server, error) {
	opts, err := s.options.complete()
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.log.forget()
	ns.SetLoggerV2(s.log, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(startTimeout) || s.log.fatal() != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, or(s.log.fatal(), fmt.Errorf("not ready after %v", startTimeout))
	}
	return ns, nil
}

// InProcessConn connects to the server without a socket.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats == nil {
		return nil, errRestart
	}
	return s.nats.InProcessConn()
}

// ClientURL returns the address that other processes use. It is of no use with DontListen.
func (s *Server) ClientURL() string { return s.url }

// Shutdown writes what is stored to disk, closes all connections and returns when the server has stopped.
func (s *Server) Shutdown() {
	s.stop.Do(func() {
		close(s.ending)
		s.keeper.Wait()
		s.end()
		_ = s.lock.Close() // releases the lock
	})
}

func (o Options) complete() (*server.Options, error) {
	opts := &server.Options{
		ServerName:         "busbar",
		Host:               o.Host,
		Port:               o.Port,
		DontListen:         o.DontListen,
		NoSigs:             true,
		NoSystemAccount:    false,
		JetStream:          true,
		StoreDir:           o.StoreDir,
		JetStreamMaxStore:  o.MaxStore,
		JetStreamMaxMemory: maxMemory,
		SyncInterval:       o.SyncInterval,
		MaxPayload:         maxPayload,
		MaxPending:         64 << 20,
	}
	if opts.Host == "" {
		opts.Host = defaultHost
	}
	if opts.Port == 0 {
		opts.Port = defaultPort
	}
	if opts.JetStreamMaxStore <= 0 {
		opts.JetStreamMaxStore = noLimit
	}
	if opts.SyncInterval <= 0 {
		opts.SyncInterval = time.Second
	}
	if o.DontListen {
		return opts, nil
	}
	return opts, probe(opts.Host, max(opts.Port, 0))
}

// probe tells early and clearly that the address cannot be had; the server itself would log it and wait.
func probe(host string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))) //nolint:noctx // does not block
	if err != nil {
		return err
	}
	return l.Close()
}

// lockDir makes dir and locks it against other processes for as long as the file is open, also if this process dies.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "busbar.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another server", dir)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	return f, nil
}

func or(err, fallback error) error {
	if err != nil {
		return err
	}
	return fallback
}
