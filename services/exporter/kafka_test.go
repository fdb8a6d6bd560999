// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// startKafka runs a broker that speaks Kafka's protocol, in this process, until the test ends.
func startKafka(t testing.TB, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kafkaDestination(t testing.TB, c *kfake.Cluster, more string) func(*exporter.Config) {
	t.Helper()
	path := resources(t, destination("kafka", fmt.Sprintf("kafka: {brokers: ['%s'], timeout: 2s%s}", c.ListenAddrs()[0], more)))
	return func(cfg *exporter.Config) { cfg.Paths = []string{path} }
}

// consumed reads n records of a topic.
func consumed(t testing.TB, c *kfake.Cluster, topic string, n int) [][]byte {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out [][]byte
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(out), n, err)
		}
		for record := range fetches.RecordsAll() {
			out = append(out, record.Value)
		}
	}
	return out
}

func TestKafka(t *testing.T) {
	t.Parallel()
	c := startKafka(t, "spans", "otlp_metrics", "otlp_logs")
	l := start(t, kafkaDestination(t, c, ", traces: {topic: spans}, producer: {compression: zstd}"))
	l.publish("kafka", subject.Traces, 0, 20, spans(t))
	l.publish("kafka", subject.Metrics, 0, 1, counter(t))
	got := make(map[string]bool)
	for _, value := range consumed(t, c, "spans", 20) {
		td, err := new(ptrace.ProtoUnmarshaler).UnmarshalTraces(value)
		if err != nil {
			t.Fatal(err)
		}
		got[td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name()] = true
	}
	if len(got) != 20 || !got["0"] || !got["19"] {
		t.Errorf("spans in Kafka: %v", got)
	}
	if d := cmp.Diff([][]byte{counter(t)(0)}, consumed(t, c, "otlp_metrics", 1)); d != "" {
		t.Errorf("metrics in Kafka (-want +got):\n%s", d)
	}
}

// TestKafkaErrors holds that what a broker says decides, not what the exporter calls permanent.
func TestKafkaErrors(t *testing.T) {
	t.Parallel()
	c := startKafka(t, "otlp_spans", "otlp_metrics", "otlp_logs")
	var code atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r, ok := request.(*kmsg.ProduceRequest)
		if !ok {
			return nil, nil, false
		}
		answer := r.ResponseKind().(*kmsg.ProduceResponse) //nolint:forcetypeassert // it is that of the request
		for _, topic := range r.Topics {
			of := kmsg.NewProduceResponseTopic()
			of.Topic, of.TopicID = topic.Topic, topic.TopicID
			for _, partition := range topic.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = partition.Partition, int16(code.Load()) //nolint:gosec // it was one
				of.Partitions = append(of.Partitions, p)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer, nil, true
	})
	refuse := func(err *kerr.Error) { code.Store(int32(err.Code)) }
	refuse(kerr.TopicAuthorizationFailed)
	l := start(t, kafkaDestination(t, c, ""))
	l.publish("kafka", subject.Traces, 0, 3, spans(t))
	bustest.Eventually(t, "it is refused", l.state("kafka", "refusing"))
	refuse(kerr.InvalidRecord)
	bustest.Eventually(t, "bad records are given up", func() bool { return l.nats.Pending(t, root.OutStream("kafka").Name, "exporter") == 0 })
	if n := len(bustest.ReadAll(t, l.bus, root.DeadStream().Name, root.Dead("exporter", "kafka_invalid_record"))); n != 3 {
		t.Errorf("%d dead letters, want 3", n)
	}
	if !l.state("kafka", "ok")() {
		t.Error("bad data made the destination fail")
	}
}
