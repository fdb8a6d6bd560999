// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
)

// Headers of a message on the bus. Publish sets the first three from the fields of Msg.
const (
	HeaderID       = "Nats-Msg-Id"      // deduplication key
	HeaderEncoding = "Content-Encoding" // "s2", "zstd"; absent for plain bytes
	HeaderItems    = "Busbar-Items"     // records inside, decimal
	HeaderSchema   = "Busbar-Schema"    // message type of the payload
	HeaderSource   = "Busbar-Source"    // who wrote it
	HeaderPart     = "Busbar-Part"      // what alone is to be done with it, as was given to PermanentOf; it was a dead letter
)

// Headers that a dead letter has besides those of the message it copies.
const (
	HeaderDeadPrefix    = "Busbar-Dead-"          // all of them begin with it
	HeaderDeadReason    = "Busbar-Dead-Reason"    // reason of the Permanent error
	HeaderDeadError     = "Busbar-Dead-Error"     // its text, shortened
	HeaderDeadOrigin    = "Busbar-Dead-Origin"    // "<stream>:<sequence>:<subject>" it was read from
	HeaderDeadStage     = "Busbar-Dead-Stage"     // stage that gave up on it
	HeaderDeadPart      = "Busbar-Dead-Part"      // what could not be done, if the rest was
	HeaderDeadStored    = "Busbar-Dead-Stored"    // when the stream it was read from stored it, RFC 3339
	HeaderDeadAttempts  = "Busbar-Dead-Attempts"  // how often it was delivered
	HeaderDeadID        = "Busbar-Dead-Id"        // message id it had
	HeaderDeadTruncated = "Busbar-Dead-Truncated" // its true size in bytes, if the copy had to be cut
)

// Values of Msg.Encoding and Delivery.Encoding.
const (
	EncodingS2       = "s2"
	EncodingZstd     = "zstd"
	EncodingIdentity = "identity"
)

const (
	// MaxData bounds Msg.Data before compression, in bytes. Producers aim at half of it or less.
	MaxData = 512 << 10
	// MaxDecoded bounds what Delivery.Data decompresses to, in bytes, so that a small message cannot fill the memory.
	MaxDecoded = 8 << 20

	minCompress = 256 // bytes below which compression gains less than its header costs
)

// Msg is a message to publish.
type Msg struct {
	Subject string
	// ID deduplicates: the stream stores one message per ID within its window. Empty means that only retries of this very
	// publication are deduplicated. Derive it from the input (Delivery.DerivedID), never from the clock.
	ID     string
	Header map[string]string // further headers
	Items  int               // records inside
	// Data is the payload. It must not change until the publication has ended.
	Data []byte
	// Encoding tells how Data is already encoded: "s2", "zstd" or "identity" pass untouched. Empty lets the bus compress it.
	Encoding string
}

// wire turns m into a NATS message without a reply subject. The release function gives its buffer back, when nothing
// reads the message any more.
func (m *Msg) wire() (msg *nats.Msg, release func(), err error) {
	if m.Encoding == "" && len(m.Data) > MaxData {
		return nil, nil, fmt.Errorf("%w: %d bytes before compression, at most %d", ErrTooLarge, len(m.Data), MaxData)
	}
	header := make(nats.Header, len(m.Header)+3)
	for k, v := range m.Header {
		header[k] = []string{v}
	}
	id := m.ID
	if id == "" {
		id = nats.NewInbox() // unique; makes a retry of this publication idempotent
	}
	header[HeaderID] = []string{id}
	if m.Items > 0 {
		header[HeaderItems] = []string{strconv.Itoa(m.Items)}
	}
	data, encoding, release := compress(m.Data, m.Encoding)
	if encoding != EncodingIdentity {
		header[HeaderEncoding] = []string{encoding}
	}
	return &nats.Msg{Subject: m.Subject, Header: header, Data: data}, release, nil
}

// compress encodes data with s2 if no encoding is given and it helps by a sixteenth or more.
func compress(data []byte, encoding string) (out []byte, as string, release func()) {
	if encoding != "" {
		return data, encoding, func() {}
	}
	if len(data) < minCompress {
		return data, EncodingIdentity, func() {}
	}
	buf := compressed.Get().(*[]byte)
	*buf = s2.Encode((*buf)[:cap(*buf)], data)
	if len(*buf) > len(data)-len(data)/16 {
		compressed.Put(buf)
		return data, EncodingIdentity, func() {}
	}
	return *buf, EncodingS2, func() { compressed.Put(buf) }
}

// compressed holds encoding buffers: a batch is encoded once and its bytes are needed until the stream has acknowledged them.
var compressed = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // a pool is shared by design
