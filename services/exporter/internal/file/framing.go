// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
)

// Framing is how records follow one another, as in the files of the Collector.
type Framing int

// The framings.
const (
	Lines   Framing = iota // each ends with a newline, and has none inside
	Lengths                // each begins with its length in four bytes, the highest first
)

func (m Framing) frame(record []byte) []byte {
	if m == Lengths {
		return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(record)), uint32(len(record))), record...) //nolint:gosec // messages are far smaller
	}
	return append(record, '\n')
}

// whole returns the size of a file without a torn record at its end.
func (m Framing) whole(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if m == Lengths {
		return wholeLengths(f, info.Size())
	}
	return wholeLines(f, info.Size())
}

// wholeLines looks for the last newline, from the end.
func wholeLines(f io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		from := max(end-int64(len(block)), 0)
		b := block[:end-from]
		if _, err := f.ReadAt(b, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// wholeLengths goes from record to record.
func wholeLengths(f io.ReaderAt, size int64) (int64, error) {
	var head [4]byte
	at := int64(0)
	for at+int64(len(head)) <= size {
		if _, err := f.ReadAt(head[:], at); err != nil {
			return 0, err
		}
		next := at + int64(len(head)) + int64(binary.BigEndian.Uint32(head[:]))
		if next > size {
			break
		}
		at = next
	}
	return at, nil
}
