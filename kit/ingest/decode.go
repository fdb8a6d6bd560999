// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd frame may ask the decoder to remember; all levels of the format's own program below 20 need less.
const maxWindow = 8 << 20

// codec returns a reader of what data holds, and a function that gives the reader back.
type codec func(data []byte) (r io.Reader, release func(), err error)

// codecs are the encodings by name. Gzip may have several members and zstd several frames.
func codecs() map[string]codec {
	return map[string]codec{
		"gzip": gunzip, "x-gzip": gunzip,
		"deflate": inflate, "zlib": inflate,
		"zstd": unzstd, "zstd1": unzstd,
		"snappy": unframe, "x-snappy-framed": unframe,
	}
}

// encodings are the names in a Content-Encoding, in the order in which to undo them.
func encodings(header string) []string {
	var names []string
	for name := range strings.SplitSeq(header, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
			names = append([]string{name}, names...)
		}
	}
	return names
}

var (
	gzips = sync.Pool{New: func() any { return new(gzip.Reader) }} //nolint:gochecknoglobals // a pool is shared by design
	zstds = sync.Pool{New: func() any {                            //nolint:gochecknoglobals // the same
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil // the options are constant and right
		}
		return d
	}}
)

func gunzip(data []byte) (io.Reader, func(), error) {
	z, ok := gzips.Get().(*gzip.Reader)
	if !ok {
		return nil, nil, errNoDecoder
	}
	return z, func() { gzips.Put(z) }, z.Reset(bytes.NewReader(data))
}

var errNoDecoder = errors.New("no decoder")

// inflate takes zlib, which is what deflate means in HTTP, and the bare deflate that some send under that name.
func inflate(data []byte) (io.Reader, func(), error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if errors.Is(err, zlib.ErrHeader) {
		return flate.NewReader(bytes.NewReader(data)), func() {}, nil
	}
	return z, func() {}, err
}

func unzstd(data []byte) (io.Reader, func(), error) {
	z, ok := zstds.Get().(*zstd.Decoder)
	if !ok {
		return nil, nil, errNoDecoder
	}
	release := func() {
		if z.Reset(nil) == nil {
			zstds.Put(z)
		}
	}
	if err := z.Reset(bytes.NewReader(data)); err != nil {
		release()
		return nil, nil, err
	}
	return z, release, nil
}

// framed begins a snappy stream. Over HTTP some mean that by "snappy", and some a single block.
const framed = "\xff\x06\x00\x00sNaPpY"

func unframe(data []byte) (io.Reader, func(), error) {
	return snappy.NewReader(bytes.NewReader(data)), func() {}, nil
}
