// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// deltas makes one delta of a counter, of as many as a message has records.
func deltas(message, _ int, now time.Time) (bus.Msg, error) {
	service := fmt.Sprintf("count-%d", message%services)
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", service)
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("calls")
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	p := sum.DataPoints().AppendEmpty()
	p.SetIntValue(batch)
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Second)))
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	data, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	return bus.Msg{
		Subject: root.OTLP(subject.Metrics, subject.DefaultTenant, "", service), ID: "count-" + strconv.Itoa(message),
		Header: map[string]string{subject.HeaderSchema: subject.SchemaMetrics}, Items: 1, Data: data,
	}, err
}

// counters are the pages of all exporters, as whoever scrapes them sees them.
type counters struct {
	mu     sync.Mutex
	newest map[string]float64 // by series
	falls  []string           // what went down
}

// watch scrapes the pages until ctx ends.
func (c *counters) watch(ctx context.Context, pages func() []string) {
	for pause(ctx, scrapeEvery) == nil {
		for _, page := range pages() {
			// A page that is away shows nothing.
			if now, err := scrapePage(ctx, page); err == nil {
				c.saw(now)
			}
		}
	}
}

const scrapeEvery = 200 * time.Millisecond

func (c *counters) saw(now map[string]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for series, v := range now {
		if was := c.newest[series]; v < was {
			c.falls = append(c.falls, fmt.Sprintf("%s went from %v to %v", series, was, v))
		}
	}
	if c.newest == nil {
		c.newest = map[string]float64{}
	}
	maps.Copy(c.newest, now)
}

// total returns the sum of what every series was when it was last seen.
func (c *counters) total() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.newest {
		sum += int(v)
	}
	return sum
}

func (c *counters) fell() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, f := range c.falls {
		errs = append(errs, errors.New(f))
	}
	return errors.Join(errs...)
}

// scrapePage returns the counters of the load on a page, by service.
func scrapePage(ctx context.Context, address string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, m := range families["calls_total"].GetMetric() {
		var key strings.Builder
		for _, l := range m.GetLabel() {
			fmt.Fprintf(&key, "%s=%s ", l.GetName(), l.GetValue())
		}
		all[key.String()] = m.GetCounter().GetValue()
	}
	return all, nil
}
