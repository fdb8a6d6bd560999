// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Compression names a content encoding of requests, as the Collector does.
type Compression string

// The compressions.
const (
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
	Snappy       Compression = "snappy"          // over HTTP one block, over gRPC framed: so it is on either
	SnappyFramed Compression = "x-snappy-framed" // HTTP only
	Zlib         Compression = "zlib"            // HTTP only
	Deflate      Compression = "deflate"         // HTTP only: zlib under another name
	None         Compression = "none"
)

// HTTPCompressions are those for requests over HTTP.
func HTTPCompressions() []Compression {
	return []Compression{Gzip, Zstd, Snappy, SnappyFramed, Zlib, Deflate, None}
}

// GRPCCompressions are those for requests over gRPC.
func GRPCCompressions() []Compression { return []Compression{Gzip, Zstd, Snappy, None} }

// gzipLevel is the fastest: on OTLP it costs a fifth of the default level's time for a tenth more bytes.
const gzipLevel = gzip.BestSpeed

// compressor compresses whole messages. It is the Compressor of a gRPC connection, too.
type compressor interface {
	Do(w io.Writer, data []byte) error
	Type() string // as Content-Encoding and grpc-encoding name it
}

// newCompressor returns that of requests over HTTP, nil for none.
func newCompressor(c Compression) (compressor, error) {
	switch c {
	case Gzip:
		return newPooled(c, func() (resettable, error) { return gzip.NewWriterLevel(io.Discard, gzipLevel) }), nil
	case Zlib, Deflate:
		return newPooled(c, func() (resettable, error) { return zlib.NewWriterLevel(io.Discard, zlib.BestSpeed) }), nil
	case SnappyFramed:
		return framedSnappy(c), nil
	case Snappy:
		return block{c, func(dst, data []byte) []byte { return append(dst, snappy.Encode(nil, data)...) }}, nil
	case Zstd:
		// One goroutine each: requests are compressed side by side as it is.
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return block{c, func(dst, data []byte) []byte { return z.EncodeAll(data, dst) }}, nil
	case None, "":
		return nil, nil //nolint:nilnil // documented
	}
	return nil, fmt.Errorf("compression %q is not known", c)
}

// newGRPCCompressor returns that of requests over gRPC, nil for none.
func newGRPCCompressor(c Compression) (compressor, error) {
	if c == Snappy {
		return framedSnappy(c), nil
	}
	return newCompressor(c)
}

func framedSnappy(c Compression) compressor {
	return newPooled(c, func() (resettable, error) { return snappy.NewBufferedWriter(io.Discard), nil })
}

// resettable is a compressing writer that can begin anew.
type resettable interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// pooled keeps writers at rest. The window of each is worth keeping: it is a hundred times the garbage of a request.
type pooled struct {
	name Compression
	make func() (resettable, error)
	pool sync.Pool
}

func newPooled(name Compression, fresh func() (resettable, error)) *pooled {
	return &pooled{name: name, make: fresh}
}

// Do writes data compressed to w.
func (p *pooled) Do(w io.Writer, data []byte) error {
	z, ok := p.pool.Get().(resettable)
	if !ok {
		var err error
		if z, err = p.make(); err != nil {
			return err
		}
	}
	z.Reset(w)
	defer p.pool.Put(z)
	if _, err := z.Write(data); err != nil {
		return err
	}
	return z.Close()
}

// Type is the name of the encoding.
func (p *pooled) Type() string { return string(p.name) }

// block compresses a message at one go.
type block struct {
	name   Compression
	append func(dst, data []byte) []byte
}

// Do writes data compressed to w.
func (b block) Do(w io.Writer, data []byte) error {
	var room []byte
	if buffer, ok := w.(*bytes.Buffer); ok {
		room = buffer.AvailableBuffer() // so that nothing is copied
	}
	_, err := w.Write(b.append(room, data))
	return err
}

// Type is the name of the encoding.
func (b block) Type() string { return string(b.name) }

// encode returns a body compressed, or as it is without a compressor. The result is new, since the transport may read it after
// the answer has come.
func encode(c compressor, body []byte) ([]byte, error) {
	if c == nil {
		return body, nil
	}
	// What telemetry shrinks to is a sixth or less; a wrong guess costs one growth.
	out := bytes.NewBuffer(make([]byte, 0, len(body)/6+256))
	err := c.Do(out, body)
	return out.Bytes(), err
}

// maxGRPCAnswer bounds what an answer may be once it is decompressed.
const maxGRPCAnswer = 4 << 20

// decompressor undoes what a server does to its answers, in the encoding of the requests. It is the Decompressor of a gRPC
// connection.
type decompressor struct{ name Compression }

// Do reads a whole message.
func (d decompressor) Do(r io.Reader) ([]byte, error) {
	switch d.name {
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxGRPCAnswer))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case Snappy:
		r = snappy.NewReader(r)
	default:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	}
	return io.ReadAll(io.LimitReader(r, maxGRPCAnswer))
}

// Type is the name of the encoding.
func (d decompressor) Type() string { return string(d.name) }
