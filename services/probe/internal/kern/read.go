// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// pollEvery is how long a record may lie in the ring: the kernel wakes the reader only when much has gathered, which
	// is what makes a record cheap. What a look costs besides its records, most of it for threads of the runtime that wake up
	// with it, is some 300 µs. While nothing comes the interval grows to restEvery.
	pollEvery = 50 * time.Millisecond
	restEvery = 250 * time.Millisecond
	// sweepEvery is how long the end of a unix socket may go unnoticed, about; see sweep.
	sweepEvery = time.Second
	// idleEvery is the number of records after which Idle is called although there are more.
	idleEvery = 1024
)

// Read hands records to the sink until ctx ends, and then returns nil once it has handed over all that was in the ring. It
// does not allocate. One Read may run at a time.
//
// It waits for the ring in the poller of the Go runtime. A system call that blocks is what a library has; for each of those the
// runtime's monitor wakes up dozens of times, which was measured to cost more than all the rest of a quiet probe.
func (k *Kern) Read(ctx context.Context, sink Sink) error {
	ring, err := pollable(k.maps["ring"].FD())
	if err != nil {
		return fmt.Errorf("wait for ring: %w", err)
	}
	defer ring.Close()
	conn, err := ring.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for ring: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = ring.SetReadDeadline(time.Now()) })()
	r := newRingReader(k.ring, sink)
	var swept time.Time
	for interval := pollEvery; ; interval = min(2*interval, restEvery) {
		if r.n > 0 || r.busy {
			r.n, interval = 0, pollEvery
		}
		now := time.Now()
		if now.Sub(swept) >= sweepEvery {
			swept = now
			k.sweep()
		}
		if err := ring.SetReadDeadline(now.Add(interval)); err != nil {
			return fmt.Errorf("wait for ring: %w", err)
		}
		// Drains at once, and again whenever the kernel wakes us, until the deadline.
		if err := conn.Read(r.drain); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("wait for ring: %w", err)
		}
		if r.err == nil && ctx.Err() != nil {
			r.finish()
		} else if r.err == nil {
			continue
		}
		return ringError(r.err)
	}
}

// ringError is how Read ends with an error: after Close with none.
func ringError(err error) error {
	if err == nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("read ring: %w", err)
}

// sweep ends the exchanges of unix sockets that were closed, and frees what was kept of them: no tracepoint tells. A failure
// leaves them for the next time.
func (k *Kern) sweep() {
	if p := k.programs["sweep"]; p != nil {
		_, _ = p.Run(&ebpf.RunOptions{})
	} else if p := k.programs["sweep_at"]; p != nil {
		k.sweepEach(p)
	}
}

// sweepEach runs a program for each connection, on kernels where it cannot go through them by itself. A key that is deleted
// meanwhile makes the map begin anew, so there is a bound.
func (k *Kern) sweepEach(p *ebpf.Program) {
	var key uint64
	var keys []uint64
	m := k.maps["conns_by_addr"]
	for err := m.NextKey(nil, &key); err == nil && len(keys) < int(m.MaxEntries()); err = m.NextKey(key, &key) {
		keys = append(keys, key)
	}
	for _, key := range keys {
		_, _ = p.Run(&ebpf.RunOptions{Context: key})
	}
}

// pollable opens the ring a second time for the poller of the Go runtime.
func pollable(fd int) (*os.File, error) {
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) //nolint:gosec // a descriptor
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(again, true); err != nil {
		_ = unix.Close(again)
		return nil, err
	}
	return os.NewFile(uintptr(again), "ring"), nil //nolint:gosec // a descriptor
}

// ringReader is the state of a Read.
type ringReader struct {
	ring *ring
	take func(record []byte) error
	idle func()
	n    int   // records since the last deadline
	busy bool  // the next one was still being written
	err  error // that ends Read
}

func newRingReader(from *ring, sink Sink) *ringReader {
	r := &ringReader{ring: from, idle: sink.Idle}
	r.take = func(record []byte) error {
		if r.n++; r.n%idleEvery == 0 {
			sink.Idle()
		}
		return dispatch(record, sink)
	}
	return r
}

// drain hands over what is in the ring. It reports whether reading is over.
func (r *ringReader) drain(uintptr) bool {
	if r.busy, r.err = r.ring.read(r.take); r.err != nil {
		return true
	}
	r.idle()
	return false
}

// finish hands over the rest.
func (r *ringReader) finish() {
	for r.drain(0); r.busy; r.drain(0) {
		runtime.Gosched() // its writer needs a moment
	}
}

// dispatch hands one record to the sink. The error can only mean that object and program do not belong together.
func dispatch(raw []byte, sink Sink) error {
	const (
		exchangeSize = int(unsafe.Sizeof(Exchange{}))
		processSize  = int(unsafe.Sizeof(Process{}))
	)
	if len(raw) >= exchangeSize && *(*uint16)(unsafe.Pointer(&raw[0])) == recordExchange {
		e := (*Exchange)(unsafe.Pointer(&raw[0])) // ring records and Go's large allocations are aligned to 8 bytes
		tail := raw[exchangeSize:]
		if request, response := int(e.requestCaptured), int(e.responseCaptured); request+response <= len(tail) {
			sink.Exchange(e, tail[:request:request], tail[request:request+response:request+response])
			return nil
		}
	}
	if len(raw) >= processSize && *(*uint16)(unsafe.Pointer(&raw[0])) == recordProcess {
		p := (*Process)(unsafe.Pointer(&raw[0]))
		tail := raw[processSize:]
		file, args, env := int(p.fileSize), int(p.argsSize), int(p.envSize)
		if file+args+env <= len(tail) {
			sink.Process(p, tail[:file:file], tail[file:file+args:file+args], tail[file+args:file+args+env])
			return nil
		}
	}
	return fmt.Errorf("ring holds an unknown record of %d bytes", len(raw))
}
