// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Severities of OpenTelemetry.
const (
	severityTrace = 1
	severityDebug = 5
	severityInfo  = 9
	severityInfo2 = 10
	severityWarn  = 13
	severityError = 17
	severityFatal = 21
)

// severity is the number of a status of a log; 0 for one that is not known.
func severity(status string) int {
	switch strings.ToLower(status) {
	case "emerg", "emergency", "fatal", "panic":
		return severityFatal
	case "alert":
		return severityError + 2
	case "crit", "critical":
		return severityError + 1
	case "err", "error":
		return severityError
	case "warn", "warning":
		return severityWarn
	case "notice":
		return severityInfo2
	case "info", "ok", "success":
		return severityInfo
	case "debug":
		return severityDebug
	case "trace", "verbose":
		return severityTrace
	}
	return 0
}

// Logs maps logs.
func (m *Mapper) Logs(out *Output, all []decode.Log, from From) error {
	now := m.now()
	for i := range all {
		l := &all[i]
		tags, ok := m.sort(l.Tags)
		if !ok {
			out.Dropped[TooMany]++
			continue
		}
		force(&tags.resource, "host.name", l.Host)
		force(&tags.resource, "service.name", l.Service)
		e := otlp.NewLog(l.Time, now, severity(l.Status), l.Status, l.Message)
		if l.Source != "" {
			e.Attribute("datadog.log.source", otlp.String(l.Source))
		}
		for _, t := range tags.record {
			e.Attribute(t.Key, t.Value)
		}
		for _, f := range l.Fields {
			if find(tags.record, f.Name) == "" {
				e.Attribute(f.Name, jsonValue(f.Value, maxNesting))
			}
		}
		if trace, span, ok := ParseIDs(l.Trace, l.Span); ok {
			e.Of(trace, span)
		}
		if err := out.logs.Add(m.resource(tags.resource, from), m.scope(), e.Data, 1); err != nil {
			return err
		}
	}
	return nil
}

// Events maps events.
func (m *Mapper) Events(out *Output, all []decode.Event, from From) error {
	now := m.now()
	for i := range all {
		ev := &all[i]
		tags, ok := m.sort(ev.Tags)
		if !ok {
			out.Dropped[TooMany]++
			continue
		}
		force(&tags.resource, "host.name", ev.Host)
		at := ev.Time
		if at == 0 {
			at = now
		}
		e := otlp.NewLog(at, now, severity(alert(ev.Alert)), ev.Alert, ev.Text)
		for _, p := range []otlp.Pair{
			pair("datadog.event.title", ev.Title), pair("datadog.event.aggregation_key", ev.Key), pair("datadog.event.priority", ev.Priority),
			pair("datadog.event.source_type_name", ev.Source), pair("datadog.event.type", ev.Kind),
		} {
			if p.Value.Text != "" {
				e.Attribute(p.Key, p.Value)
			}
		}
		for _, t := range tags.record {
			e.Attribute(t.Key, t.Value)
		}
		e.Event("datadog.event")
		if err := out.logs.Add(m.resource(tags.resource, from), m.scope(), e.Data, 1); err != nil {
			return err
		}
	}
	return nil
}

// alert is the status that the kind of an alert is; an event without is for information.
func alert(kind string) string {
	if kind == "" || kind == "user_update" || kind == "recommendation" || kind == "snapshot" {
		return "info"
	}
	return kind
}

// Checks maps states of things: to a gauge, and to a log if something is said about one that is not well.
func (m *Mapper) Checks(out *Output, all []decode.Check, from From) error {
	now := m.now()
	for i := range all {
		c := &all[i]
		word, level := condition(c.Status)
		o, ok := m.origin(out, &decode.Series{Metric: c.Name, Tags: c.Tags, Resources: []decode.Resource{{Type: "host", Name: c.Host}}}, from, 1)
		if !ok {
			continue
		}
		at := c.Time
		if at == 0 {
			at = now
		}
		attributes := join(append(append([]otlp.Pair(nil), o.attributes...), pair("status", word)))
		err := out.points.Add(o.resource, o.scope, otlp.Metric{Name: c.Name, Shape: otlp.Gauge}, otlp.Point{
			Attributes: otlp.PointAttributes(otlp.Gauge, attributes), Time: at, Value: float64(c.Status),
		})
		if err != nil {
			return err
		}
		if c.Message == "" || c.Status <= 0 {
			continue
		}
		e := otlp.NewLog(at, now, level, word, c.Message)
		e.Attribute("datadog.service_check.name", otlp.String(c.Name))
		for _, a := range o.attributes {
			e.Attribute(a.Key, a.Value)
		}
		e.Event("datadog.service_check")
		if err := out.logs.Add(o.resource, o.scope, e.Data, 1); err != nil {
			return err
		}
	}
	return nil
}

// condition is the word for a state, and how severe it is.
func condition(status int) (string, int) {
	switch status {
	case 0:
		return "OK", severityInfo
	case 1:
		return "WARNING", severityWarn
	case 2:
		return "CRITICAL", severityError + 1
	}
	return "UNKNOWN", severityWarn
}
