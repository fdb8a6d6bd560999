// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"
)

// fakeRing is a ring in plain memory of 64 bytes, which a test fills in the kernel's place.
type fakeRing struct {
	*ring
	twice [128]byte
}

func newFakeRing() *fakeRing {
	f := &fakeRing{}
	f.ring = &ring{reader: []byte{0}, data: f.twice[:], size: 64, consumed: new(atomic.Uint64), produced: new(atomic.Uint64)}
	return f
}

// put writes a record with flags in its header.
func (f *fakeRing) put(flags uint32, record string) {
	at := f.produced.Load()
	raw := append(binary.NativeEndian.AppendUint32(nil, uint32(len(record))|flags), 0, 0, 0, 0)
	raw = append(raw, record...)
	for i, c := range raw {
		f.twice[(at+uint64(i))%64], f.twice[(at+uint64(i))%64+64] = c, c
	}
	f.produced.Add(uint64(len(raw)+7) &^ 7)
}

// all returns what is read.
func (f *fakeRing) all(t *testing.T) (records []string, busy bool) {
	t.Helper()
	busy, err := f.read(func(record []byte) error {
		records = append(records, string(bytes.Clone(record)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, busy
}

func TestRing(t *testing.T) {
	t.Parallel()
	f := newFakeRing()
	for range 20 { // round and round
		f.put(0, "a")
		f.put(ringDiscard, "given up")
		f.put(0, "eleven byte")
		if got, busy := f.all(t); busy || !slices.Equal(got, []string{"a", "eleven byte"}) {
			t.Fatalf("read %q, busy: %v", got, busy)
		}
		if f.consumed.Load() != f.produced.Load() {
			t.Fatalf("%d of %d bytes given back", f.consumed.Load(), f.produced.Load())
		}
	}
	f.put(0, "first")
	at := f.produced.Load() % 64
	f.put(ringBusy, "second")
	f.put(0, "third")
	if got, busy := f.all(t); !busy || !slices.Equal(got, []string{"first"}) {
		t.Fatalf("read %q, busy: %v", got, busy)
	}
	f.twice[at+3] &^= ringBusy >> 24
	if got, busy := f.all(t); busy || !slices.Equal(got, []string{"second", "third"}) {
		t.Fatalf("read %q, busy: %v", got, busy)
	}
	f.reader = nil
	if _, err := f.read(nil); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}
