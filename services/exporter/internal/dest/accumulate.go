// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/exporter/internal/cumulative"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// accumulator is a back end that wants sums: what waits for it is added up, and its place in the stream is kept with the sums.
type accumulator interface {
	sink
	// series is where the sums are.
	series() *cumulative.State
	// write makes one attempt to hand changed series over; its errors are as those of package otlp. Nil for a back end that
	// looks at the sums by itself.
	write() func(ctx context.Context, md pmetric.Metrics) error
}

// accumulate adds up messages for a back end until ctx ends.
func (d *destination) accumulate(ctx context.Context, to accumulator) error {
	backlog := new(backlog)
	k := &cumulative.Keeper{
		Bus: d.bus, Root: d.root, Destination: d.name, Instance: d.instance, State: to.series(), Log: d.log,
		As:       bus.ConsumerSpec{Durable: durable, Stage: stage, DeadSubject: func(reason string) string { return d.root.Dead(stage, reason) }},
		Standing: func(s cumulative.Standing) { d.stands(s, backlog) },
		Added: func(m *bus.Delivery, signal subject.Signal, left cumulative.Left) {
			backlog.saw(m.Items())
			if signal != subject.Metrics {
				left = cumulative.Left{reasonSignal: m.Items()}
			}
			d.took(m.Items(), signal, left)
		},
	}
	if write := to.write(); write != nil {
		w := &writer{destination: d, keeper: k, gate: newGate(), attempt: write}
		k.Deliver = w.deliver
	}
	return k.Run(ctx)
}

// stands shows how an accumulation stands.
func (d *destination) stands(s cumulative.Standing, b *backlog) {
	d.state.sees(s.Pending, time.Time{}, s.Lost > 0)
	d.metrics.pending.WithLabelValues(d.name).Set(float64(s.Pending))
	d.metrics.waiting.WithLabelValues(d.name).Set(float64(b.inside(s.Pending)))
	d.metrics.drop(d.name, reasonExpired, b.inside(s.Lost))
	d.metrics.shards.WithLabelValues(d.name).Set(float64(s.Shards))
	d.metrics.series.WithLabelValues(d.name).Set(float64(s.Series))
	d.metrics.age.WithLabelValues(d.name).Set(s.Age.Seconds())
}

// writer hands changed series over.
type writer struct {
	*destination
	keeper  *cumulative.Keeper
	gate    *gate
	attempt func(ctx context.Context, md pmetric.Metrics) error
	logged  time.Time // when a refusal was last logged
}

// deliver tries until the back end has taken the series, but for those that it will never take, or ctx ends. Every sample is a
// total: the next one of its series tells what one that was refused did.
func (w *writer) deliver(ctx context.Context, md pmetric.Metrics, points int) error {
	for {
		pass, err := w.gate.enter(ctx)
		if err != nil {
			return err
		}
		err = w.try(ctx, md)
		if err == nil {
			w.succeeded(pass, "ok")
			return nil
		}
		if ctx.Err() != nil {
			pass.abandon()
			return ctx.Err()
		}
		e := otlp.AsError(err)
		if e.Class == otlp.Invalid {
			w.succeeded(pass, e.Class.String())
			return w.divide(ctx, md, points, e)
		}
		w.metrics.attempts.WithLabelValues(w.name, e.Class.String()).Inc()
		pass.fail(e.Class, e.After)
		w.state.fails(phaseOf(e.Class), e)
		w.keeper.Look(ctx)
	}
}

func (w *writer) succeeded(p pass, result string) {
	p.succeed()
	w.state.ok()
	w.metrics.attempts.WithLabelValues(w.name, result).Inc()
}

// try makes one attempt, which may go on for a moment after ctx has ended.
func (w *writer) try(ctx context.Context, md pmetric.Metrics) error {
	attempt, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastAttempt):
			cancel()
		case <-attempt.Done():
		}
	})
	defer stop()
	return w.attempt(attempt, md)
}

// lastAttempt is how long an attempt to hand over sums may last at a stop.
const lastAttempt = time.Second

// smallest is how many points a request is not divided below.
const smallest = 8

// divide finds out which of the series are refused: a back end refuses a request as a whole for one of them.
func (w *writer) divide(ctx context.Context, md pmetric.Metrics, points int, cause *otlp.Error) error {
	if points <= smallest {
		w.metrics.refused.WithLabelValues(w.name, cause.Reason).Add(float64(points))
		if now := time.Now(); now.Sub(w.logged) >= time.Minute { // the rest is counted
			w.logged = now
			w.log.Warn("destination refuses samples", "samples", points, "error", cause)
		}
		return nil
	}
	a, b := halve(md)
	if err := w.deliver(ctx, a, a.DataPointCount()); err != nil {
		return err
	}
	return w.deliver(ctx, b, b.DataPointCount())
}

// halve divides the metrics into two of about as many points.
func halve(md pmetric.Metrics) (a, b pmetric.Metrics) {
	a, b = pmetric.NewMetrics(), pmetric.NewMetrics()
	left := md.DataPointCount() / 2
	for _, rm := range md.ResourceMetrics().All() {
		first, second := a.ResourceMetrics().AppendEmpty(), b.ResourceMetrics().AppendEmpty()
		rm.Resource().CopyTo(first.Resource())
		rm.Resource().CopyTo(second.Resource())
		for _, sm := range rm.ScopeMetrics().All() {
			one, two := first.ScopeMetrics().AppendEmpty().Metrics(), second.ScopeMetrics().AppendEmpty().Metrics()
			for _, m := range sm.Metrics().All() {
				to := left
				before := func() bool { to--; return to < 0 }
				after := func() bool { to--; return to >= 0 }
				n := pointsOf(m)
				if left > 0 {
					x := one.AppendEmpty()
					m.CopyTo(x)
					keep(x, before)
				}
				if to = left; left < n {
					x := two.AppendEmpty()
					m.CopyTo(x)
					keep(x, after)
				}
				left = max(left-n, 0)
			}
		}
	}
	return a, b
}

func pointsOf(m pmetric.Metric) int {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		return m.Sum().DataPoints().Len()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().DataPoints().Len()
	default:
		return m.Summary().DataPoints().Len()
	}
}

// keep removes the points for which remove, asked in their order, is true.
func keep(m pmetric.Metric, remove func() bool) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		m.Gauge().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return remove() })
	case pmetric.MetricTypeSum:
		m.Sum().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return remove() })
	case pmetric.MetricTypeHistogram:
		m.Histogram().DataPoints().RemoveIf(func(pmetric.HistogramDataPoint) bool { return remove() })
	default:
		m.Summary().DataPoints().RemoveIf(func(pmetric.SummaryDataPoint) bool { return remove() })
	}
}
