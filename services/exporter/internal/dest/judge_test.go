// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	away := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	answer := func(status int, body string, header ...string) *collector.Failure {
		a := &collector.Answer{Status: status, Header: http.Header{}, Body: []byte(body)}
		for i := 0; i < len(header); i += 2 {
			a.Header.Set(header[i], header[i+1])
		}
		return &collector.Failure{Err: errors.New("remote write request failed"), Permanent: true, Answer: a}
	}
	fails := func(err error) *collector.Failure {
		return &collector.Failure{Err: fmt.Errorf("export: %w", err), Permanent: true}
	}
	for _, tc := range []struct {
		name string
		err  error
		want string // class, reason, delay
	}{
		{"bad data", answer(400, "no"), "invalid http_400 0s"},
		{"late", answer(400, "out of order sample"), "invalid out_of_order 0s"},
		{"repeated with another value", answer(400, "duplicate sample for timestamp"), "invalid out_of_order 0s"},
		{"bad password", answer(401, "no"), "refused  0s"},
		{"wrong path", answer(404, "no"), "refused  0s"},
		{"server error", answer(500, "out of order"), "unavailable  0s"},
		{"throttled", answer(429, "", "Retry-After", "7"), "throttled  7s"},
		{"a part without an answer", &collector.Failure{Err: errors.Join(errors.New("remote write request failed"), away), Answer: answer(400, "no").Answer}, "unavailable  0s"},
		{"gRPC", &collector.Failure{Err: errors.New("x"), Status: status.New(codes.PermissionDenied, "no")}, "refused  0s"},
		{"gRPC bad data", &collector.Failure{Err: errors.New("x"), Status: status.New(codes.InvalidArgument, "no")}, "invalid grpc_3 0s"},
		{"words of a throttle", &collector.Failure{Err: errors.New("Throttle (3s), error: x"), After: 3 * time.Second}, "throttled  3s"},
		{"Kafka record", fails(kerr.InvalidRecord), "invalid kafka_invalid_record 0s"},
		{"Kafka size", fails(kerr.MessageTooLarge), "invalid kafka_message_too_large 0s"},
		{"Kafka rights", fails(kerr.TopicAuthorizationFailed), "refused  0s"},
		{"Kafka password", fails(kerr.SaslAuthenticationFailed), "refused  0s"},
		{"Kafka topic", fails(kerr.UnknownTopicOrPartition), "refused  0s"},
		{"Kafka leader", fails(kerr.NotLeaderForPartition), "unavailable  0s"},
		{"ClickHouse value", fails(&clickhouse.Exception{Code: 53}), "invalid clickhouse_53 0s"},
		{"ClickHouse table", fails(&clickhouse.Exception{Code: 60}), "refused  0s"},
		{"ClickHouse memory", fails(&clickhouse.Exception{Code: 241}), "unavailable  0s"},
		{"ClickHouse table by HTTP", fails(errors.New(`[HTTP 404] response body: "Code: 60. DB::Exception: no table"`)), "refused  0s"},
		{"ClickHouse memory by HTTP", fails(errors.New(`[HTTP 500] response body: "Code: 241. DB::Exception: memory"`)), "unavailable  0s"},
		{"balancer before ClickHouse", fails(errors.New(`[HTTP 403] response body: "go away"`)), "refused  0s"},
		{"nobody there", fails(away), "unavailable  0s"},
		{"no time left", fails(context.DeadlineExceeded), "unavailable  0s"},
		{"something permanent", fails(errors.New("marshal")), "refused  0s"},
		{"something else", &collector.Failure{Err: errors.New("oh")}, "unavailable  0s"},
		{"ours", undecodable(errors.New("no OTLP")), "invalid undecodable 0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := otlp.AsError(judge(tc.err))
			if got := fmt.Sprintf("%s %s %v", e.Class, e.Reason, e.After); got != tc.want {
				t.Errorf("%v is %s, want %s", tc.err, got, tc.want)
			}
		})
	}
	if err := judge(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}
