// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

const (
	// pollEvery is how long a record may lie in the ring: the kernel wakes the reader only when much has gathered, which
	// is what makes a record cheap. While nothing comes the interval grows to restEvery.
	pollEvery = 20 * time.Millisecond
	restEvery = 100 * time.Millisecond
	// idleEvery is the number of records after which Idle is called although there are more.
	idleEvery = 1024
)

// Read hands records to the sink until ctx ends, and then returns nil once it has handed over all that was in the ring. It
// does not allocate. One Read may run at a time.
func (k *Kern) Read(ctx context.Context, sink Sink) error {
	stop := context.AfterFunc(ctx, func() { _ = k.reader.Flush() })
	defer stop()
	record := ringbuf.Record{RawSample: make([]byte, 0, 4096)}
	n, interval := 0, pollEvery
	k.reader.SetDeadline(time.Now().Add(interval))
	for {
		err := k.reader.ReadInto(&record)
		switch {
		case err == nil:
			n++
			interval = pollEvery
			if err := dispatch(record.RawSample, sink); err != nil {
				return err
			}
			if n%idleEvery == 0 {
				sink.Idle()
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			sink.Idle()
			k.reader.SetDeadline(time.Now().Add(interval))
			interval = min(2*interval, restEvery)
		case errors.Is(err, ringbuf.ErrFlushed):
			sink.Idle()
			return nil
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return fmt.Errorf("read ring: %w", err)
		}
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
