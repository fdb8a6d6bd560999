// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // for the servers of these tests
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// receiver is an OTLP/gRPC server that answers with err and notes what it got.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	err error
	got chan received
}

func (r *receiver) Export(ctx context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	response := ptraceotlp.NewExportResponse()
	if r.err != nil {
		return response, r.err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	body, _ := request.MarshalProto()
	first := func(key string) string { return strings.Join(md.Get(key), ",") }
	r.got <- received{
		Key: first("idempotency-key"), Agent: first("user-agent"), Tenant: first("x-scope-orgid"), Body: string(body), Encoding: first("x-encoding"),
	}
	response.PartialSuccess().SetRejectedSpans(2)
	response.PartialSuccess().SetErrorMessage("two were bad")
	return response, nil
}

type metricsReceiver struct {
	pmetricotlp.UnimplementedGRPCServer
	got chan string
}

func (r *metricsReceiver) Export(_ context.Context, q pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	v, _ := q.Metrics().ResourceMetrics().At(0).Resource().Attributes().Get("service.name")
	r.got <- v.Str()
	return pmetricotlp.NewExportResponse(), nil
}

type logsReceiver struct {
	plogotlp.UnimplementedGRPCServer
	got chan string
}

func (r *logsReceiver) Export(_ context.Context, q plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	v, _ := q.Logs().ResourceLogs().At(0).Resource().Attributes().Get("service.name")
	r.got <- v.Str()
	return plogotlp.NewExportResponse(), nil
}

// serve runs a gRPC server for the test and returns its address.
func serve(t testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return listener.Addr().String()
}

func grpcSender(t testing.TB, target string, change func(*otlp.GRPCConfig)) *otlp.GRPC {
	t.Helper()
	cfg := otlp.GRPCConfig{Target: target, Compression: otlp.Gzip, Timeout: 10 * time.Second, UserAgent: "busbar/test"}
	if change != nil {
		change(&cfg)
	}
	sender, err := otlp.NewGRPC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return sender
}

// codec is a compression of the servers of these tests.
type codec struct {
	name  string
	write func(io.Writer) (io.WriteCloser, error)
	read  func(io.Reader) (io.Reader, error)
}

func (c codec) Name() string                                 { return c.name }
func (c codec) Compress(w io.Writer) (io.WriteCloser, error) { return c.write(w) }
func (c codec) Decompress(r io.Reader) (io.Reader, error)    { return c.read(r) }

// registerCodecs is for before any test runs: the registry has no lock.
func registerCodecs() {
	encoding.RegisterCompressor(codec{"zstd", func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) }})
	encoding.RegisterCompressor(codec{"snappy", func(w io.Writer) (io.WriteCloser, error) { return snappy.NewBufferedWriter(w), nil },
		func(r io.Reader) (io.Reader, error) { return snappy.NewReader(r), nil }})
}

func TestGRPCForwardsBytes(t *testing.T) {
	t.Parallel()
	for _, compression := range otlp.GRPCCompressions() {
		t.Run(string(compression), func(t *testing.T) {
			t.Parallel()
			traces, others := &receiver{got: make(chan received, 1)}, make(chan string, 1)
			address := serve(t, func(s *grpc.Server) {
				ptraceotlp.RegisterGRPCServer(s, traces)
				pmetricotlp.RegisterGRPCServer(s, &metricsReceiver{got: others})
				plogotlp.RegisterGRPCServer(s, &logsReceiver{got: others})
			})
			sender := grpcSender(t, address, func(c *otlp.GRPCConfig) {
				c.Compression, c.Metadata = compression, map[string]string{"X-Scope-OrgID": "shop"}
			})
			all := requests(t)
			rejected, err := sender.Send(t.Context(), all[subject.Traces])
			if want := (otlp.Rejected{Records: 2, Message: "two were bad"}); err != nil || rejected != want {
				t.Fatalf("rejected %v, error %v", rejected, err)
			}
			got := <-traces.got
			if !strings.HasPrefix(got.Agent, "busbar/test ") {
				t.Errorf("user agent %q", got.Agent)
			}
			got.Agent = ""
			if d := cmp.Diff(received{Key: "id-traces", Tenant: "shop", Body: string(all[subject.Traces].Body)}, got); d != "" {
				t.Errorf("received (-want +got):\n%s", d)
			}
			for _, signal := range []subject.Signal{subject.Metrics, subject.Logs} {
				if _, err := sender.Send(t.Context(), all[signal]); err != nil {
					t.Fatal(err)
				}
				if got := <-others; got != string(signal) {
					t.Errorf("received service %q, want %q", got, signal)
				}
			}
		})
	}
}

func TestGRPCFailures(t *testing.T) {
	t.Parallel()
	withDelay := func(c codes.Code) error {
		s, err := grpcstatus.New(c, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	type result struct {
		Class  string
		After  time.Duration
		Reason string
		Err    string
	}
	for _, tc := range []struct {
		name string
		err  error
		want result
	}{
		{"bad data", grpcstatus.Error(codes.InvalidArgument, "no ids"), result{"invalid", 0, "grpc_3", "InvalidArgument: no ids"}},
		{"out of range", grpcstatus.Error(codes.OutOfRange, ""), result{"invalid", 0, "grpc_11", "OutOfRange: "}},
		{"too large", grpcstatus.Error(codes.ResourceExhausted, "grpc: received message larger than max (9 vs. 4)"),
			result{"invalid", 0, "too_large", "ResourceExhausted: grpc: received message larger than max (9 vs. 4)"}},
		{"quota", withDelay(codes.ResourceExhausted), result{"throttled", 3 * time.Second, "", "ResourceExhausted: later"}},
		{"busy", withDelay(codes.Unavailable), result{"throttled", 3 * time.Second, "", "Unavailable: later"}},
		{"quota without a time", grpcstatus.Error(codes.ResourceExhausted, "quota"), result{"unavailable", 0, "", "ResourceExhausted: quota"}},
		{"down", grpcstatus.Error(codes.Unavailable, "down"), result{"unavailable", 0, "", "Unavailable: down"}},
		{"credentials", grpcstatus.Error(codes.Unauthenticated, "who?"), result{"refused", 0, "", "Unauthenticated: who?"}},
		{"permission", grpcstatus.Error(codes.PermissionDenied, "no"), result{"refused", 0, "", "PermissionDenied: no"}},
		{"broken", errors.New("boom"), result{"unavailable", 0, "", "Unknown: boom"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, func(s *grpc.Server) { ptraceotlp.RegisterGRPCServer(s, &receiver{err: tc.err}) })
			_, err := grpcSender(t, address, nil).Send(t.Context(), requests(t)[subject.Traces])
			e := otlp.AsError(err)
			if d := cmp.Diff(tc.want, result{e.Class.String(), e.After, e.Reason, e.Error()}); d != "" {
				t.Errorf("error (-want +got):\n%s", d)
			}
		})
	}
}

func TestGRPCServerWithoutTheService(t *testing.T) {
	t.Parallel()
	address := serve(t, func(*grpc.Server) {})
	_, err := grpcSender(t, address, nil).Send(t.Context(), requests(t)[subject.Logs])
	if e := otlp.AsError(err); e.Class != otlp.Refused {
		t.Errorf("class %v, error %v", e.Class, err)
	}
	_, err = grpcSender(t, address, func(c *otlp.GRPCConfig) { c.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }).
		Send(t.Context(), requests(t)[subject.Logs])
	if e := otlp.AsError(err); e.Class != otlp.Unavailable || !strings.Contains(err.Error(), "tls:") {
		t.Errorf("TLS to a plaintext server: class %v, error %v", e.Class, err)
	}
}

func BenchmarkGRPC(b *testing.B) {
	got := make(chan received, 1)
	go func() {
		for range got { //nolint:revive // emptied
		}
	}()
	b.Cleanup(func() { close(got) })
	for _, compression := range []otlp.Compression{otlp.None, otlp.Gzip} {
		b.Run(string(compression), func(b *testing.B) {
			address := serve(b, func(s *grpc.Server) { ptraceotlp.RegisterGRPCServer(s, &receiver{got: got}) })
			sender := grpcSender(b, address, func(c *otlp.GRPCConfig) { c.Compression = compression })
			benchmark(b, sender.Send)
		})
	}
}
