// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/store"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// limiting holds tenants, or what else flows are told apart by, to records and bytes a second. It decides about all that a message
// still has when it comes to the step: a message that finds anything left passes as a whole, and what it takes too much is
// paid off before the next one. One that comes again has paid already, unless the replica died that knew it.
type limiting struct {
	limiter *limit.Limiter
	name    string // unique among all limits
	per     configv1.Limit_Per
	wait    bool // messages over the limit, instead of dropping them
	units   [2]unit
}

// unit is what is limited.
type unit struct {
	name  string
	limit store.Limit // none if the rate is zero
}

func (l *limiting) glance(ctx context.Context, m Message, e Encoded) (did result, done bool) {
	size := 0
	if l.units[1].limit.Rate > 0 {
		data, err := e.Data()
		if err != nil {
			return result{}, false
		}
		size = len(data)
	}
	return l.decide(ctx, m, e.Items, size), true
}

func (l *limiting) run(ctx context.Context, m Message, p otlp.Payload) result {
	size := 0
	if l.units[1].limit.Rate > 0 {
		size = p.Size()
	}
	return l.decide(ctx, m, p.Len(), size)
}

func (l *limiting) decide(ctx context.Context, m Message, records, size int) result {
	flow := l.flow(m)
	id := m.ID + "/" + l.name
	if m.Again {
		if wait, paid := l.limiter.Paid(ctx, id); paid {
			return result{wait: wait, paid: []string{id}}
		}
	}
	var demands []limit.Demand
	for i, n := range [...]int{records, size} {
		if u := l.units[i]; u.limit.Rate > 0 {
			demands = append(demands, limit.Demand{Key: u.name + flow, Limit: u.limit, N: int64(n)})
		}
	}
	if !l.wait {
		return l.take(ctx, id, demands)
	}
	return l.book(ctx, id, demands)
}

func (l *limiting) take(ctx context.Context, id string, demands []limit.Demand) result {
	for i, d := range demands {
		if !l.limiter.Take(ctx, d) {
			for _, taken := range demands[:i] {
				l.limiter.Return(taken)
			}
			return result{dropped: true}
		}
	}
	return result{paid: []string{id}}
}

func (l *limiting) book(ctx context.Context, id string, demands []limit.Demand) result {
	var wait time.Duration
	for _, d := range demands {
		wait = max(wait, l.limiter.Book(ctx, d))
	}
	if wait > 0 {
		l.limiter.Keep(ctx, id, time.Now().Add(wait))
		return result{wait: wait}
	}
	return result{paid: []string{id}}
}

// flow names what a message belongs to, in a key: parts are tokens, which have no dots.
func (l *limiting) flow(m Message) string {
	parts := []string{l.name, m.Tenant, m.Namespace, m.Service}
	switch l.per {
	case configv1.Limit_PER_NAMESPACE:
		parts = parts[:3]
	case configv1.Limit_PER_SERVICE:
	default:
		parts = parts[:2]
	}
	return strings.Join(parts, ".")
}

const defaultBurst = time.Second

// limit compiles a limit. Its settings are in its name, so that it begins anew when they change.
func (b *builder) limit(name, path string, spec *configv1.Limit) {
	burst, err := config.Duration(spec.GetBurst())
	if err != nil {
		b.report(path+".burst", 0, "%v", err)
	}
	if spec.GetBurst() == "" {
		burst = defaultBurst
	}
	records := spec.GetRecords()
	if records < 0 || math.IsInf(records, 0) || math.IsNaN(records) {
		b.report(path+".records", 0, "want a number of records a second above zero, got %v", records)
	}
	size, err := configv1.ParseSize(spec.GetBytes())
	if spec.GetBytes() != "" && (err != nil || size == 0) {
		b.report(path+".bytes", 0, "want a size such as 512KiB or 10MiB, for a second, got %q", spec.GetBytes())
	}
	if records == 0 && spec.GetBytes() == "" {
		b.report(path, 0, "nothing is limited: set records, bytes or both, for a second")
	}
	l := &limiting{
		limiter: b.Limiter, name: fmt.Sprintf("%s/%s/%v-%d-%v", b.pipeline, name, records, size, burst),
		per: spec.GetPer(), wait: spec.GetOver() == configv1.Limit_OVER_WAIT,
		units: [...]unit{{"records:", bucket(records, burst)}, {"bytes:", bucket(float64(size), burst)}},
	}
	if b.Limiter != nil {
		b.all(step{name + ".limit", Limited, l})
	}
}

// bucket holds what the rate gives in the time of the burst, but one token at least.
func bucket(rate float64, burst time.Duration) store.Limit {
	return store.Limit{Rate: rate, Burst: max(1, int64(rate*burst.Seconds()))}
}
