// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ringHeader  = 8       // bytes before each record: its length, with two flags, and what only the kernel needs
	ringBusy    = 1 << 31 // still being written
	ringDiscard = 1 << 30 // given up by its writer

	// ringReturn is how much is read before its room is given back. The position of the reader is in a cache line that every writer
	// reads: to write it once per record would make each of them wait for it.
	ringReturn = 64 << 10
)

// ring reads the ring in place, as linux/bpf.h lays it out: a page with the reader's position, a page with the writers', and the data,
// mapped twice in a row so that each record is in one piece.
type ring struct {
	mu       sync.Mutex // held while records are read, which must not be unmapped then
	reader   []byte     // nil: closed
	writer   []byte
	data     []byte
	size     uint64
	consumed *atomic.Uint64 // bytes read since the beginning
	produced *atomic.Uint64 // and written
}

func openRing(fd, size int) (*ring, error) {
	page := os.Getpagesize()
	reader, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map position: %w", err)
	}
	writer, err := unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(reader)
		return nil, fmt.Errorf("map data: %w", err)
	}
	return &ring{
		reader: reader, writer: writer, data: writer[page:], size: uint64(size),
		consumed: (*atomic.Uint64)(unsafe.Pointer(&reader[0])), produced: (*atomic.Uint64)(unsafe.Pointer(&writer[0])),
	}, nil
}

// read hands what is there to take, until the ring is empty or, busy, its next record is still being written. What take is handed is
// valid only during the call. It fails with os.ErrClosed once the ring is closed.
func (r *ring) read(take func(record []byte) error) (busy bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reader == nil {
		return false, os.ErrClosed
	}
	at := r.consumed.Load()
	returned := at
	defer func() { r.consumed.Store(at) }()
	for end := r.produced.Load(); at != end; end = r.produced.Load() {
		for at != end {
			start := at & (r.size - 1)
			header := (*atomic.Uint32)(unsafe.Pointer(&r.data[start])).Load() // whoever sees it not busy sees the record
			if header&ringBusy != 0 {
				return true, nil
			}
			length := uint64(header &^ ringDiscard)
			at += (ringHeader + length + 7) &^ 7
			if header&ringDiscard == 0 {
				if err := take(r.data[start+ringHeader:][:length:length]); err != nil {
					return false, err
				}
			}
			if at-returned >= min(ringReturn, r.size/8) {
				r.consumed.Store(at)
				returned = at
			}
		}
	}
	return false, nil
}

// close unmaps the ring, when nobody reads it any more.
func (r *ring) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reader == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(r.reader), unix.Munmap(r.writer))
	r.reader, r.writer, r.data = nil, nil, nil
	return err
}
