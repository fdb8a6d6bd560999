// SPDX-License-Identifier: Apache-2.0

// Package capturetest gives tests the requests of real clients in testdata, and what Datadog's own decoders read from them.
package capturetest

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Request is a request as it was on the wire.
type Request struct {
	Name    string
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Query   string            `json:"query"`
	Headers map[string]string `json:"headers"`
	Wire    []byte            `json:"-"`
	Body    []byte            `json:"-"` // decompressed
	Facts   json.RawMessage   `json:"-"`
}

// All returns the captures whose names begin with prefix. Dir is the folder of testdata.
func All(t testing.TB, dir, prefix string) (out []Request) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, prefix+"*.meta.json"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no captures %s: %v", prefix, err)
	}
	for _, n := range names {
		out = append(out, Load(t, dir, strings.TrimSuffix(filepath.Base(n), ".meta.json")))
	}
	return out
}

// Load returns a capture.
func Load(t testing.TB, dir, name string) Request {
	t.Helper()
	r := Request{Name: name}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	meta, err := os.ReadFile(filepath.Join(dir, name+".meta.json"))
	must(err)
	must(json.Unmarshal(meta, &r))
	r.Facts, err = os.ReadFile(filepath.Join(dir, name+".facts.json"))
	must(err)
	r.Wire, err = os.ReadFile(filepath.Join(dir, name+".body"))
	must(err)
	r.Body, err = inflate(r.Wire, r.Headers["Content-Encoding"])
	must(err)
	return r
}

func inflate(wire []byte, encoding string) ([]byte, error) {
	var from io.Reader = bytes.NewReader(wire)
	var err error
	switch encoding {
	case "gzip":
		from, err = gzip.NewReader(from)
	case "deflate":
		from, err = zlib.NewReader(from)
	case "zstd", "zstd1":
		from, err = zstd.NewReader(from)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(from)
}
