// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression names a content encoding of requests.
type Compression string

// The compressions; gRPC has no Zstd.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"
)

// gzipLevel is the fastest: on OTLP it costs a fifth of the default level's time for a tenth more bytes.
const gzipLevel = gzip.BestSpeed

// gzipWriters are writers at rest. The window of each is worth keeping: it is a hundred times the garbage of a request.
type gzipWriters struct{ pool sync.Pool }

// Do writes data compressed to w. With Type it is the Compressor of a gRPC connection.
func (g *gzipWriters) Do(w io.Writer, data []byte) error {
	z, ok := g.pool.Get().(*gzip.Writer)
	if !ok {
		var err error
		if z, err = gzip.NewWriterLevel(w, gzipLevel); err != nil {
			return err
		}
	} else {
		z.Reset(w)
	}
	defer g.pool.Put(z)
	if _, err := z.Write(data); err != nil {
		return err
	}
	return z.Close()
}

// Type is the name of the encoding.
func (g *gzipWriters) Type() string { return string(Gzip) }

// encoder compresses request bodies.
type encoder struct {
	compression Compression
	gzip        gzipWriters
	zstd        *zstd.Encoder
}

func newEncoder(c Compression) (*encoder, error) {
	e := &encoder{compression: c}
	if c == Zstd {
		var err error
		// One goroutine each: requests are compressed side by side as it is.
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

// encode returns the body compressed. The result is new, since the transport may read it after the answer has come.
func (e *encoder) encode(body []byte) ([]byte, error) {
	// What telemetry shrinks to is a sixth or less; a wrong guess costs one growth.
	guess := len(body)/6 + 256
	switch e.compression {
	case Gzip:
		out := bytes.NewBuffer(make([]byte, 0, guess))
		if err := e.gzip.Do(out, body); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	case Zstd:
		return e.zstd.EncodeAll(body, make([]byte, 0, guess)), nil
	default:
		return body, nil
	}
}
