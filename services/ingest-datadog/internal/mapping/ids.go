// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"encoding/binary"
	"sync"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
)

// IDs remembers the high halves of trace ids: the first chunk of a trace of 128 bits says it, later ones of the same process may not.
// It holds the newest traces in two generations; what it has forgotten has a trace id of 64 bits.
type IDs struct {
	mu       sync.Mutex
	now, old map[key]uint64
	most     int
}

type key struct {
	tenant string
	low    uint64
}

// NewIDs returns an empty memory of at most so many traces, of which the newer half at least is kept.
func NewIDs(most int) *IDs { return &IDs{now: map[key]uint64{}, most: max(2, most)} }

// of returns the id of a chunk.
func (i *IDs) of(tenant string, c *idx.InternalTraceChunk) (id [16]byte) {
	id = decode.TraceID(c)
	if low := binary.BigEndian.Uint64(id[8:]); i != nil && low != 0 {
		high := i.high(key{tenant, low}, binary.BigEndian.Uint64(id[:8]))
		binary.BigEndian.PutUint64(id[:8], high)
	}
	return id
}

// high remembers a half that is not zero, and returns what is remembered for one that is.
func (i *IDs) high(k key, half uint64) uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if half == 0 {
		if known, ok := i.now[k]; ok {
			return known
		}
		return i.old[k]
	}
	if len(i.now) >= i.most/2 {
		i.now, i.old = make(map[key]uint64, i.most/2), i.now
	}
	i.now[k] = half
	return half
}
