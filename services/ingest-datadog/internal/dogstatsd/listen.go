// SPDX-License-Identifier: Apache-2.0

package dogstatsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxPacket   = 64 << 10
	receiveRoom = 8 << 20 // bytes that the kernel may hold for us, as far as it allows
	maxStreams  = 1024    // connections of stream sockets
)

// Listeners are the sockets on which packets come.
type Listeners struct {
	packets []net.PacketConn
	streams []net.Listener
	paths   []string // of sockets to remove in the end
}

// Listen opens sockets: UDP at an address, datagrams and streams at paths. Empty ones are none.
func Listen(ctx context.Context, udp, datagram, stream string) (l *Listeners, err error) {
	l = &Listeners{}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	var lc net.ListenConfig
	if udp != "" {
		c, err := lc.ListenPacket(ctx, "udp", udp)
		if err != nil {
			return l, err
		}
		l.packets = append(l.packets, c)
	}
	if datagram != "" {
		if err := vacate(datagram); err != nil {
			return l, err
		}
		c, err := lc.ListenPacket(ctx, "unixgram", datagram)
		if err != nil {
			return l, err
		}
		l.packets, l.paths = append(l.packets, c), append(l.paths, datagram)
	}
	if stream != "" {
		if err := vacate(stream); err != nil {
			return l, err
		}
		s, err := lc.Listen(ctx, "unix", stream)
		if err != nil {
			return l, err
		}
		l.streams, l.paths = append(l.streams, s), append(l.paths, stream)
	}
	for _, p := range l.paths {
		if err := os.Chmod(p, 0o722); err != nil { //nolint:gosec // everybody may write, as with the Agent's
			return l, err
		}
	}
	for _, c := range l.packets {
		if r, ok := c.(interface{ SetReadBuffer(int) error }); ok {
			_ = r.SetReadBuffer(receiveRoom) // as far as it goes
		}
	}
	return l, nil
}

// vacate removes the socket that a process that has died left at a path.
func vacate(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	for _, kind := range [...]string{"unix", "unixgram"} {
		if c, err := net.DialTimeout(kind, path, time.Second); err == nil { //nolint:noctx // does not block
			_ = c.Close()
			return fmt.Errorf("%s is in use", path)
		}
	}
	return os.Remove(path)
}

// Addr returns the address of UDP, or nil.
func (l *Listeners) Addr() net.Addr {
	for _, c := range l.packets {
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			return a
		}
	}
	return nil
}

// Close closes the sockets.
func (l *Listeners) Close() {
	for _, c := range l.packets {
		_ = c.Close()
	}
	for _, s := range l.streams {
		_ = s.Close()
	}
	for _, p := range l.paths {
		_ = os.Remove(p)
	}
}

// Run reads packets until ctx ends and gives each to take, which must not keep it. Drop is told of those that are lost.
func (l *Listeners) Run(ctx context.Context, take func(packet []byte), drop func(reason string, n int)) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	defer l.Close()
	failed := make(chan error, len(l.packets)+len(l.streams))
	for _, c := range l.packets {
		wait.Go(func() { failed <- l.read(c, take, drop) })
	}
	for _, s := range l.streams {
		wait.Go(func() { failed <- l.accept(ctx, s, take, drop) })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// read reads datagrams.
func (l *Listeners) read(c net.PacketConn, take func([]byte), drop func(string, int)) error {
	lost, err := newOverflow(c)
	if err != nil {
		return err
	}
	packet := make([]byte, maxPacket)
	for {
		n, more, err := lost.read(packet)
		if err != nil {
			return err
		}
		drop("statsd_socket_full", more)
		take(packet[:n])
	}
}

// accept reads streams of packets.
func (l *Listeners) accept(ctx context.Context, s net.Listener, take func([]byte), drop func(string, int)) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	slots := make(chan struct{}, maxStreams)
	for {
		c, err := s.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			drop("statsd_streams", 1)
			_ = c.Close()
			continue
		}
		wait.Go(func() {
			defer func() { <-slots }()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer c.Close()
			if err := stream(c, take); err != nil && ctx.Err() == nil {
				drop("statsd_stream", 1)
			}
		})
	}
}

// stream reads packets with their lengths before them, four bytes, the lowest first.
func stream(r io.Reader, take func([]byte)) error {
	packet := make([]byte, maxPacket)
	var head [4]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return err
		}
		n := binary.LittleEndian.Uint32(head[:])
		if n > maxPacket {
			return fmt.Errorf("packet of %d bytes, at most %d", n, maxPacket)
		}
		if _, err := io.ReadFull(r, packet[:n]); err != nil {
			return err
		}
		take(packet[:n])
	}
}
