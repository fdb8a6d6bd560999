// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
)

// ReasonUndecodable is the reason of the Permanent errors of Delivery.Data.
const ReasonUndecodable = "undecodable"

// Delivery is a message read from the bus. It is valid for as long as anyone holds it; its byte slices are shared and must
// not be changed. Its methods may be called from several goroutines.
type Delivery struct {
	Subject  string
	Stream   string    // empty when read with Subscribe
	Sequence uint64    // place in the stream
	Time     time.Time // when the stream stored it
	Attempt  int       // 1 on first delivery

	msg *nats.Msg
}

// Header returns the first value of the header key, which is case-sensitive, or "".
func (d *Delivery) Header(key string) string { return d.msg.Header.Get(key) }

// Headers returns the first value of every header that may be copied to another message: those of NATS itself and the
// encoding, which belong to one message, are left out.
func (d *Delivery) Headers() map[string]string {
	headers := make(map[string]string, len(d.msg.Header))
	for k, v := range d.msg.Header {
		if len(v) > 0 && k != HeaderEncoding && !strings.HasPrefix(strings.ToLower(k), "nats-") {
			headers[k] = v[0]
		}
	}
	return headers
}

// Raw returns the payload as it is on the bus. With Encoding it can be published again untouched.
func (d *Delivery) Raw() []byte { return d.msg.Data }

// Encoding returns how Raw is encoded: "identity" when the message has no such header.
func (d *Delivery) Encoding() string {
	if e := d.msg.Header.Get(HeaderEncoding); e != "" {
		return e
	}
	return EncodingIdentity
}

// Items returns the number of records inside as its header tells, at least 1.
func (d *Delivery) Items() int { return items(d.msg) }

func items(msg *nats.Msg) int {
	n, err := strconv.Atoi(msg.Header.Get(HeaderItems))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Data returns the decoded payload, at most MaxDecoded bytes. It decodes on each call. Its errors are Permanent.
func (d *Delivery) Data() ([]byte, error) {
	data, err := decode(d.msg.Data, d.Encoding())
	if err != nil {
		return nil, Permanent(ReasonUndecodable, fmt.Errorf("decode message on %s: %w", d.Subject, err))
	}
	return data, nil
}

// DerivedID returns an id for the part of the output that is made from this message: equal for each delivery of it and
// different from that of any other message, also of a stream that was deleted and made anew, as it names the time at
// which the stream stored the message.
func (d *Delivery) DerivedID(part string) string {
	id := make([]byte, 0, len(d.Stream)+len(part)+32)
	id = append(id, d.Stream...)
	id = strconv.AppendUint(append(id, ':'), d.Sequence, 10)
	id = strconv.AppendInt(append(id, ':'), d.Time.UnixNano(), 36)
	id = append(id, ':')
	return string(append(id, part...))
}

// newDelivery reads where msg comes from out of its reply subject; a message of a core subscription has no such place.
func newDelivery(msg *nats.Msg) *Delivery {
	d := &Delivery{Subject: msg.Subject, Attempt: 1, msg: msg}
	if meta, err := msg.Metadata(); err == nil {
		d.Stream, d.Sequence = meta.Stream, meta.Sequence.Stream
		d.Time, d.Attempt = meta.Timestamp, int(meta.NumDelivered)
	}
	return d
}

func decode(data []byte, encoding string) ([]byte, error) {
	switch encoding {
	case EncodingIdentity:
		return data, nil
	case EncodingS2:
		n, err := s2.DecodedLen(data)
		if err != nil {
			return nil, err
		}
		if n > MaxDecoded {
			return nil, errTooLong
		}
		return s2.Decode(nil, data)
	case EncodingZstd:
		decoder, err := zstdDecoder()
		if err != nil {
			return nil, err
		}
		out, err := decoder.DecodeAll(data, nil)
		if len(out) > MaxDecoded {
			return nil, errTooLong
		}
		return out, err
	}
	return nil, fmt.Errorf("unknown content encoding %.32q", encoding)
}

var errTooLong = errors.New("payload exceeds " + strconv.Itoa(MaxDecoded) + " bytes when decoded")

// zstdDecoder is made on first use: most deployments never see zstd. DecodeAll may be called concurrently.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) { //nolint:gochecknoglobals // immutable once made
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxDecoded))
})
