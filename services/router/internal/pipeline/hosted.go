// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/processors"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// hosted is a processor of the OpenTelemetry Collector.
type hosted struct{ *collector.Processor }

func (h hosted) run(ctx context.Context, _ Message, p otlp.Payload) result {
	err := p.Pass(
		func(t ptrace.Traces) (ptrace.Traces, error) { return h.Traces(ctx, t) },
		func(m pmetric.Metrics) (pmetric.Metrics, error) { return h.Metrics(ctx, m) },
		func(l plog.Logs) (plog.Logs, error) { return h.Logs(ctx, l) },
	)
	return result{changed: true, err: err} // it does not tell what it changes
}

func (h hosted) takes(s subject.Signal) bool {
	switch s {
	case subject.Traces:
		return h.TakesTraces()
	case subject.Metrics:
		return h.TakesMetrics()
	case subject.Logs:
		return h.TakesLogs()
	}
	return false
}

// refused are processors that cannot be steps: why, and what does the same.
func refused() map[string]string {
	const buffers = "it keeps data in memory after it has taken them, which a crash would lose: "
	const cumulative = "destinations that need cumulative metrics make them themselves, over all replicas and restarts: leave it out"
	return map[string]string{
		"batch":               "messages are batches already, and what waits does so in the stream: leave it out",
		"memory_limiter":      "memory is bounded everywhere, and what waits does so in the stream: leave it out",
		"tail_sampling":       buffers + "use sample with keepErrors and keepSlowerThan",
		"groupbytrace":        buffers + "leave it out, no step needs whole traces",
		"interval":            buffers + "metrics are deltas, and a destination for Prometheus adds them up: leave it out",
		"deltatocumulative":   cumulative,
		"delta_to_cumulative": cumulative,
		"cumulativetodelta":   "it knows only what its own process has seen: leave it out, or let a destination of delta metrics do it",
	}
}

// other compiles the steps that are not our own: by the name of the field that is set.
func (b *builder) other(name, path string, s *configv1.Step) {
	m := s.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("step"))
	if field == nil {
		b.report(path, 0, "want one of filter, transform, redact, sample, limit, or a processor of the OpenTelemetry Collector")
		return
	}
	kind := field.JSONName()
	if why, ok := refused()[kind]; ok {
		b.report(path+"."+kind, 0, "%s cannot be a step: %s", kind, why)
		return
	}
	b.processor(name, path+"."+kind, kind)
}

// collectors compiles a step that has settings of the Collector's processor of its name, in place of those of our own, and tells
// whether it has.
func (b *builder) collectors(name, path, kind string, m proto.Message, own protoreflect.Name) bool {
	ours, theirs := false, false
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		ours = ours || fd.Name() == own
		theirs = theirs || fd.Name() != own
		return true
	})
	switch {
	case theirs && ours:
		b.report(path, 0, "%s stand alone, or else the settings of the Collector's %s processor", own, kind)
	case theirs:
		b.processor(name, path, kind)
	}
	return theirs
}

// processor compiles a hosted processor, for those signals of the pipeline that it takes.
func (b *builder) processor(name, path, kind string) {
	settings, ok := b.settings(path)
	if !ok {
		return
	}
	k := processors.Kinds()[kind]
	cfg, faults := k.Decode(settings)
	for _, f := range faults {
		b.report(path+f.Path, 0, "%s", f.Reason)
	}
	if faults != nil {
		return
	}
	p, err := k.Create(context.Background(), cfg, collector.ProcessorSettings{
		Name: b.pipeline + "/" + name, Version: b.Version, Log: or(b.Log, slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		b.report(path, 0, "%v", err)
		return
	}
	h := hosted{p}
	reason := kind
	switch kind {
	case "filter":
		reason = Filtered
	case "probabilistic_sampler":
		reason = Sampled
		if slices.Contains(b.signals, subject.Metrics) {
			b.report(path, 0, "metrics cannot be sampled: set signals to traces, logs or both")
		}
	}
	if !slices.ContainsFunc(b.signals, h.takes) {
		b.report(path, 0, "takes no %s", list(b.signals))
	}
	for _, signal := range b.signals {
		if h.takes(signal) {
			b.put(signal, step{fmt.Sprintf("%s.%s", name, kind), reason, h})
		}
	}
	b.hosted = append(b.hosted, p)
}

func or[T any](v, fallback *T) *T {
	if v != nil {
		return v
	}
	return fallback
}
