// SPDX-License-Identifier: Apache-2.0

package ingest

import "sync"

// Bodies are kept in buffers of a few sizes, which are used again: clearing memory for each, and collecting it, would take a fifth of the
// work on a request. Each size is four times the one before, so that a body never holds more than some four times what has come of it.
const (
	firstBuffer = 1 << 10 // held for a body of which nothing has come
	lastBuffer  = 1 << 20 // beyond it a buffer is made when it is needed, and twice as large each time
	growth      = 4
)

// buffers holds those of each size.
var buffers [6]sync.Pool //nolint:gochecknoglobals // a pool is shared by design

// class returns the number of the smallest size that holds that many bytes, and the size; -1 beyond lastBuffer.
func class(bytes int64) (number int, size int64) {
	size = firstBuffer
	for number = range buffers {
		if bytes <= size {
			return number, size
		}
		size *= growth
	}
	return -1, bytes
}

// bufferSize is what a buffer for that many bytes takes.
func bufferSize(bytes int64) int64 {
	_, size := class(bytes)
	return size
}

// nextBuffer is the size after that of a buffer which is full.
func nextBuffer(full int64) int64 {
	if full >= lastBuffer {
		return 2 * full
	}
	return bufferSize(full + 1)
}

// getBuffer returns an empty buffer of a size that bufferSize returned.
func getBuffer(size int64) []byte {
	if number, _ := class(size); number >= 0 {
		if b, ok := buffers[number].Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, size)
}

// putBuffer lets a buffer be used again. Nobody may use it, or a part of it, from then on.
func putBuffer(b []byte) {
	if number, size := class(int64(cap(b))); number >= 0 && size == int64(cap(b)) {
		buffers[number].Put(&b)
	}
}
