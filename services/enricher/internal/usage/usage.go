// SPDX-License-Identifier: Apache-2.0

// Package usage turns what probes measured of processes into OTLP metrics: CPU, memory, storage and network.
//
// What was used in an interval is a delta, and what a process holds is a total. The same batch gives the same messages, as long as its
// processes have the same names; the part of a message says of which service and of which samples it is.
package usage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
)

// Reasons for which a sample is left out. Those of samples end as those of process events do.
const (
	LossTime = "time_process" // an interval that is none
	LossSDK  = "sdk_process"  // left to the telemetry SDK inside the process, which Instrumentation asks for
)

// maxTime is the last time that OTLP can say, nanoseconds.
const maxTime = math.MaxInt64

// Encoder makes messages. It is safe for concurrent use.
type Encoder struct {
	By       ident.Producer
	Identify func(*eventv1.Origin, *eventv1.Process) ident.Identity
}

// Encode makes the messages of a batch: for each service one, or more if it would be too large.
func (e *Encoder) Encode(batch *eventv1.ProcessBatch) otlp.Result {
	result := otlp.Result{Lost: map[string]int{}}
	services := map[[2]string]*service{}
	for i, s := range batch.GetSamples() {
		if loss := check(s); loss != "" {
			result.Lost[loss]++
			continue
		}
		id := e.Identify(batch.GetOrigin(), s.GetProcess())
		name := [2]string{id.Namespace, id.Name}
		if services[name] == nil {
			services[name] = &service{namespace: id.Namespace, name: id.Name}
		}
		services[name].members = append(services[name].members, member{i, s, id})
	}
	names := make([]*service, 0, len(services))
	for _, s := range services {
		names = append(names, s)
	}
	slices.SortFunc(names, func(a, b *service) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	for _, s := range names {
		result.Messages = append(result.Messages, e.messages(s)...)
	}
	return result
}

// service is a service of the batch.
type service struct {
	namespace, name string
	members         []member
}

// member is a process of a service.
type member struct {
	index  int // of the sample in the batch
	sample *eventv1.ProcessSample
	id     ident.Identity
}

// check says why a sample is left out; "" if it is not.
func check(s *eventv1.ProcessSample) (loss string) {
	switch {
	case s.GetProcess() == nil:
		return otlp.LossProcess + "_process"
	case s.GetProcess().GetYield() == eventv1.Yield_YIELD_ALL:
		return LossSDK
	case s.GetStartUnixNano() == 0 || s.GetTimeUnixNano() <= s.GetStartUnixNano() || s.GetTimeUnixNano() > maxTime:
		return LossTime
	}
	return ""
}

// messages makes the messages of a service.
func (e *Encoder) messages(s *service) (out []otlp.Message) {
	marshaler := new(pmetric.ProtoMarshaler)
	metrics, size, name := pmetric.NewMetrics(), 0, s.prefix()
	flush := func() {
		data, err := marshaler.MarshalMetrics(metrics)
		if err != nil {
			panic(err) // it writes to memory
		}
		out = append(out, otlp.Message{
			Signal: subject.Metrics, Namespace: s.namespace, Service: s.name, Part: "process." + strconv.FormatUint(xxhash.Sum64(name), 16),
			Items: metrics.DataPointCount(), Data: data,
		})
		metrics, size, name = pmetric.NewMetrics(), 0, s.prefix()
	}
	for _, m := range s.members {
		one := pmetric.NewMetrics().ResourceMetrics().AppendEmpty()
		e.fill(one, m)
		const frame = 8 // bytes around it
		n := marshaler.ResourceMetricsSize(one) + frame
		if size > 0 && size+n > otlp.MaxMessage {
			flush()
		}
		size += n
		name = binary.LittleEndian.AppendUint32(name, uint32(m.index)) //nolint:gosec // an index in a message of bounded size
		one.MoveTo(metrics.ResourceMetrics().AppendEmpty())
	}
	flush()
	return out
}

// prefix begins the name of a message.
func (s *service) prefix() []byte { return fmt.Appendf(nil, "%s\x00%s\x00", s.namespace, s.name) }

// fill writes the metrics of a process.
func (e *Encoder) fill(to pmetric.ResourceMetrics, m member) {
	attributes := to.Resource().Attributes()
	for _, a := range m.id.Attributes {
		switch {
		case a.Text == "":
			attributes.PutInt(a.Key, a.Int)
		case a.List:
			attributes.PutEmptySlice(a.Key).AppendEmpty().SetStr(a.Text)
		default:
			attributes.PutStr(a.Key, a.Text)
		}
	}
	scope := to.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName(e.By.Name)
	scope.Scope().SetVersion(e.By.Version)
	w := writer{scope.Metrics(), m.sample}
	w.all()
}

// writer writes the metrics of a sample.
type writer struct {
	metrics pmetric.MetricSlice
	*eventv1.ProcessSample
}

func (w writer) all() {
	user, system := float64(w.GetUserNano())/1e9, float64(w.GetSystemNano())/1e9
	cpu := w.sum("process.cpu.time", "CPU time that the process used.", "s", pmetric.AggregationTemporalityDelta)
	w.point(cpu, w.GetStartUnixNano(), "cpu.mode", "user").SetDoubleValue(user)
	w.point(cpu, w.GetStartUnixNano(), "cpu.mode", "system").SetDoubleValue(system)
	if n := w.GetProcessors(); n > 0 {
		g := w.metric("process.cpu.utilization", "Share of the machine's processors that the process used.", "1").SetEmptyGauge().DataPoints()
		available := float64(w.GetTimeUnixNano()-w.GetStartUnixNano()) / 1e9 * float64(n)
		w.point(g, w.GetStartUnixNano(), "cpu.mode", "user").SetDoubleValue(user / available)
		w.point(g, w.GetStartUnixNano(), "cpu.mode", "system").SetDoubleValue(system / available)
	}
	w.total("process.memory.usage", "Physical memory that the process holds.", w.GetMemoryBytes())
	w.total("process.memory.virtual", "Virtual memory of the process.", w.GetVirtualBytes())
	if d := w.GetDisk(); d != nil {
		w.transfer("process.disk.io", "Bytes that the process read from and wrote to storage.", "disk.io.direction", "read", "write", d)
	}
	if n := w.GetNetwork(); n != nil {
		w.transfer("process.network.io", "Bytes that the network namespace of the process received and sent.", "network.io.direction", "receive", "transmit", n)
	}
}

func (w writer) metric(name, description, unit string) pmetric.Metric {
	m := w.metrics.AppendEmpty()
	m.SetName(name)
	m.SetDescription(description)
	m.SetUnit(unit)
	return m
}

// sum makes a sum. Deltas only grow; a total goes up and down.
func (w writer) sum(name, description, unit string, t pmetric.AggregationTemporality) pmetric.NumberDataPointSlice {
	s := w.metric(name, description, unit).SetEmptySum()
	s.SetAggregationTemporality(t)
	s.SetIsMonotonic(t == pmetric.AggregationTemporalityDelta)
	return s.DataPoints()
}

// point adds a point with the attributes that tell processes of a service apart, and one more unless key is empty.
func (w writer) point(to pmetric.NumberDataPointSlice, start uint64, key, value string) pmetric.NumberDataPoint {
	p := to.AppendEmpty()
	p.SetStartTimestamp(pcommon.Timestamp(start))
	p.SetTimestamp(pcommon.Timestamp(w.GetTimeUnixNano()))
	a := p.Attributes()
	if key != "" {
		a.PutStr(key, value)
	}
	a.PutStr("process.command", w.GetProcess().GetCommand())
	a.PutStr("process.owner", owner(w.GetUserId()))
	a.PutInt("process.parent_pid", int64(w.GetProcess().GetParentPid()))
	a.PutInt("process.pid", int64(w.GetProcess().GetPid()))
	return p
}

// owner is the name of a user. Others than root have theirs from a file that each container has another of, so they go by number.
func owner(id uint32) string {
	if id == 0 {
		return "root"
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (w writer) total(name, description string, value uint64) {
	s := w.sum(name, description, "By", pmetric.AggregationTemporalityCumulative)
	start := min(cmp.Or(w.GetProcess().GetStartUnixNano(), w.GetStartUnixNano()), w.GetTimeUnixNano())
	w.point(s, start, "", "").SetIntValue(whole(value))
}

func (w writer) transfer(name, description, key, read, written string, t *eventv1.Transfer) {
	s := w.sum(name, description, "By", pmetric.AggregationTemporalityDelta)
	w.point(s, w.GetStartUnixNano(), key, read).SetIntValue(whole(t.GetReadBytes()))
	w.point(s, w.GetStartUnixNano(), key, written).SetIntValue(whole(t.GetWrittenBytes()))
}

// whole is the value as OTLP has it.
func whole(v uint64) int64 { return int64(min(v, math.MaxInt64)) } //nolint:gosec // bounded
