// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/busbar/busbar/contract/subject"
)

// GRPCConfig says where and how a [GRPC] sender calls.
type GRPCConfig struct {
	Target      string            // as gRPC names it: host:port, dns:///host:port, unix:///path
	Metadata    map[string]string // of every call; keys in lower case
	Compression Compression       // of GRPCCompressions
	Timeout     time.Duration     // of one attempt
	TLS         *tls.Config       // nil for plaintext
	UserAgent   string
}

// GRPC sends over OTLP/gRPC. Close it to let go of its connection.
type GRPC struct {
	conn     *grpc.ClientConn
	metadata metadata.MD
	timeout  time.Duration
}

// reconnect is how gRPC comes back to a server that went away. Its own default grows to two minutes, during which every
// call fails at once without a try.
func reconnect() grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: dialTimeout,
	}
}

// NewGRPC returns a sender. It does not connect; the error is about the configuration.
func NewGRPC(cfg GRPCConfig) (*GRPC, error) {
	transport := insecure.NewCredentials()
	if cfg.TLS != nil {
		transport = credentials.NewTLS(cfg.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent(cfg.UserAgent),
		grpc.WithConnectParams(reconnect()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})),
		grpc.WithDisableServiceConfig(), // a name server has no say in how we retry
	}
	compressor, err := newGRPCCompressor(cfg.Compression)
	if err != nil {
		return nil, err
	}
	if compressor != nil {
		// The successors of these two options keep compressors in a registry of the whole process, at one level for all.
		options = append(options,
			grpc.WithCompressor(compressor),                      //nolint:staticcheck // see above
			grpc.WithDecompressor(decompressor{cfg.Compression})) //nolint:staticcheck // see above
	}
	conn, err := grpc.NewClient(cfg.Target, options...)
	if err != nil {
		return nil, fmt.Errorf("open client of %s: %w", cfg.Target, err)
	}
	return &GRPC{conn: conn, metadata: metadata.New(cfg.Metadata), timeout: cfg.Timeout}, nil
}

// Close closes the connection and fails the calls that are under way.
func (g *GRPC) Close() { _ = g.conn.Close() } // it only fails when closed already

// Send calls Export once.
func (g *GRPC) Send(ctx context.Context, r Request) (Rejected, error) {
	method := exportMethod(r.Signal)
	if method == "" {
		return Rejected{}, invalid("signal", "no service for signal %q", r.Signal)
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, g.metadata)
	if r.ID != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, idempotencyKey, r.ID)
	}
	var answer []byte
	if err := g.conn.Invoke(ctx, method, &r.Body, &answer); err != nil {
		return Rejected{}, grpcError(err)
	}
	rejected, _ := parseRejected(answer) // accepted all the same
	return rejected, nil
}

func exportMethod(s subject.Signal) string {
	switch s {
	case subject.Traces:
		return "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	case subject.Metrics:
		return "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
	case subject.Logs:
		return "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	}
	return ""
}

// rawCodec moves messages that are encoded already: it takes and gives *[]byte.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("encode %T: want *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("decode into %T: want *[]byte", v)
	}
	*b = data.Materialize()
	return nil
}
