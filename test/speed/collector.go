// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/encoding"
)

// collector is a pipeline of the Collector's own components in a process of its own: OTLP in, batch, OTLP out, over gRPC.
type collector struct {
	In, Out     string // addresses
	Compression string // of what goes out: none or gzip
	Fast        bool   // gzip by the library, and at the level, that Busbar uses
}

func runCollector(ctx context.Context, description string) error {
	var c collector
	if err := json.Unmarshal([]byte(description), &c); err != nil {
		return err
	}
	if c.Fast {
		encoding.RegisterCompressor(new(fastGzip))
	}
	parts, err := c.parts(ctx)
	for _, p := range parts {
		err = errors.Join(err, p.Start(ctx, componenttest.NewNopHost()))
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	for i := range parts {
		err = errors.Join(err, parts[len(parts)-1-i].Shutdown(context.WithoutCancel(ctx)))
	}
	return err
}

// parts are the components, the last one of the way first. Their settings are the defaults, but for addresses and compression.
func (c collector) parts(ctx context.Context) ([]component.Component, error) {
	telemetry := receivertest.NewNopSettings(component.MustNewType("otlp")).TelemetrySettings
	id := func(kind component.Type) component.ID { return component.NewID(kind) }

	out := otlpexporter.NewFactory()
	outConfig := out.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{
		"endpoint": c.Out, "compression": c.Compression, "tls": map[string]any{"insecure": true},
	}).Unmarshal(outConfig); err != nil {
		return nil, err
	}
	e, err := out.CreateTraces(ctx, exporter.Settings{ID: id(out.Type()), TelemetrySettings: telemetry}, outConfig)
	if err != nil {
		return nil, err
	}

	batch := batchprocessor.NewFactory()
	b, err := batch.CreateTraces(ctx, processor.Settings{ID: id(batch.Type()), TelemetrySettings: telemetry}, batch.CreateDefaultConfig(), e)
	if err != nil {
		return nil, err
	}

	in := otlpreceiver.NewFactory()
	inConfig := in.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{"grpc": map[string]any{"endpoint": c.In, "transport": "tcp"}},
	}).Unmarshal(inConfig); err != nil {
		return nil, err
	}
	r, err := in.CreateTraces(ctx, receivertest.NewNopSettings(in.Type()), inConfig, b)
	if err != nil {
		return nil, err
	}
	return []component.Component{e, b, r}, nil
}

// fastGzip is the compressor "gzip" of gRPC by the library that Busbar uses. Writers and readers are used again, as in gRPC's own.
type fastGzip struct{ writers, readers sync.Pool }

func (*fastGzip) Name() string { return "gzip" }

func (f *fastGzip) Compress(w io.Writer) (io.WriteCloser, error) {
	if z, ok := f.writers.Get().(*fastWriter); ok {
		z.Reset(w)
		return z, nil
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("open gzip: %w", err)
	}
	return &fastWriter{z, &f.writers}, nil
}

func (f *fastGzip) Decompress(r io.Reader) (io.Reader, error) {
	if z, ok := f.readers.Get().(*fastReader); ok {
		return z, z.Reset(r)
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("open gzip: %w", err)
	}
	return &fastReader{z, &f.readers}, nil
}

type fastWriter struct {
	*gzip.Writer
	pool *sync.Pool
}

func (w *fastWriter) Close() error {
	defer w.pool.Put(w)
	return w.Writer.Close()
}

type fastReader struct {
	*gzip.Reader
	pool *sync.Pool
}

func (r *fastReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		r.pool.Put(r)
	}
	return n, err
}
