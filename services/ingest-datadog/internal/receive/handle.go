// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
	"github.com/busbar/busbar/services/ingest-datadog/internal/report"
)

// request is a request that is worked on.
type request struct {
	*Receiver
	*http.Request
	route  route
	tenant string
}

// handler reads a body, maps it and stores what comes out.
type handler func(q *request, body []byte) error

// nothing is for requests without a body.
func nothing(*request, []byte) error { return nil }

// unused counts what is answered so that the client is content, and of which nothing is made.
func unused(what string) handler {
	return func(q *request, _ []byte) error {
		q.Drops.Add(q.Service, what+"_unused", 1)
		path := q.URL.Path
		if q.Report.Unused(what, path) && what == "unknown" {
			q.Log.Warn("requests to a path that is not known are taken and dropped", "path", path)
		}
		return nil
	}
}

// client is who sends, as far as headers say.
func (q *request) client() report.Client {
	h := q.Header
	if lang := h.Get("Datadog-Meta-Lang"); lang != "" {
		return report.Client{Name: "dd-trace " + lang, Version: h.Get("Datadog-Meta-Tracer-Version")}
	}
	name, version, _ := strings.Cut(h.Get("User-Agent"), "/")
	version, _, _ = strings.Cut(version, " ")
	if v := h.Get("DD-Agent-Version"); v != "" {
		version = v
	}
	return report.Client{Name: name, Version: strings.TrimSuffix(version, "/")}
}

// from is what headers say about whoever sends.
func (q *request) from() mapping.From {
	h := q.Header
	f := mapping.From{
		ContainerID: h.Get("Datadog-Container-ID"), Language: h.Get("Datadog-Meta-Lang"), LangVersion: h.Get("Datadog-Meta-Lang-Version"),
		TracerVersion: h.Get("Datadog-Meta-Tracer-Version"), Raw: q.route.tracer,
		StatsComputed: truth(h.Get("Datadog-Client-Computed-Stats")),
	}
	if id, ok := strings.CutPrefix(h.Get("Datadog-Entity-ID"), "ci-"); ok && f.ContainerID == "" {
		f.ContainerID = id
	}
	return f
}

// truth is a header that says yes, as tracers do.
func truth(s string) bool {
	return s != "" && s != "0" && !strings.EqualFold(s, "f") && !strings.EqualFold(s, "false") && !strings.EqualFold(s, "no")
}

// finish stores an Output that was filled without error.
func (q *request) finish(out *mapping.Output, body []byte, err error) error {
	if errors.Is(err, otlp.ErrTooMuch) {
		return tooMuch(err)
	}
	if err != nil {
		return err
	}
	return q.store(out, body)
}

// tracesBy reads traces of one process in a format.
func tracesBy(read func([]byte) (decode.Traces, error)) handler {
	return func(q *request, body []byte) error {
		if len(body) == 0 || len(body) == 1 && body[0] == 0x90 || string(bytes.TrimSpace(body)) == "[]" {
			return nil // asks whether somebody listens
		}
		t, err := read(body)
		if err != nil {
			return malformed(err)
		}
		if n, err := strconv.Atoi(q.Header.Get("X-Datadog-Trace-Count")); err == nil && n != len(t.Chunks) {
			q.Report.Left("trace_count_differs", 1)
		}
		out := mapping.NewOutput(mostOutput)
		spans, err := q.Mapper.Traces(out, q.tenant, t, q.from())
		q.Report.Spans(spans)
		return q.finish(out, body, err)
	}
}

func isJSON(q *request) bool {
	kind := q.Header.Get("Content-Type")
	return strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "text/json")
}

func tracesV04(q *request, body []byte) error {
	if isJSON(q) {
		return tracesBy(decode.JSON)(q, body)
	}
	return tracesBy(decode.V04)(q, body)
}

func tracesJSON(q *request, body []byte) error { return tracesBy(decode.JSON)(q, body) }
func tracesV05(q *request, body []byte) error  { return tracesBy(decode.V05)(q, body) }
func tracesV07(q *request, body []byte) error  { return tracesBy(decode.V07)(q, body) }
func tracesV1(q *request, body []byte) error   { return tracesBy(decode.V1)(q, body) }

func agentTraces(q *request, body []byte) error {
	a, err := decode.AgentTraces(body)
	if err != nil {
		return malformed(err)
	}
	out := mapping.NewOutput(mostOutput)
	for _, t := range a.Payloads {
		n, err := q.Mapper.Traces(out, q.tenant, t, mapping.From{Host: a.Host, Env: a.Env})
		q.Report.Spans(n)
		if err != nil {
			return q.finish(out, body, err)
		}
	}
	return q.store(out, body)
}

func clientStats(q *request, body []byte) error {
	p, err := decode.ClientStats(body)
	if err != nil {
		return malformed(err)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Stats(out, p, q.from()))
}

func agentStats(q *request, body []byte) error {
	p, err := decode.AgentStats(body)
	if err != nil {
		return malformed(err)
	}
	out := mapping.NewOutput(mostOutput)
	for _, s := range p.Stats {
		if s == nil {
			continue
		}
		from := mapping.From{Host: p.AgentHostname, Env: p.AgentEnv}
		if err := q.Mapper.Stats(out, s, from); err != nil {
			return q.finish(out, body, err)
		}
	}
	return q.store(out, body)
}

// seriesV2 reads protobuf or JSON, by what the request says it is, or else by how it begins.
func seriesV2(q *request, body []byte) error {
	read := decode.SeriesV2
	if trimmed := bytes.TrimSpace(body); isJSON(q) || q.Header.Get("Content-Type") == "" && len(trimmed) > 0 && trimmed[0] == '{' {
		read = decode.SeriesJSONV2
	}
	return seriesBy(read)(q, body)
}

func seriesV1(q *request, body []byte) error { return seriesBy(decode.SeriesV1)(q, body) }

// becomes says what a series becomes.
func becomes(s *decode.Series) string {
	switch {
	case s.Kind == decode.Count:
		return report.CountToSum
	case s.Kind == decode.Rate && s.Interval > 0:
		return report.RateToSum
	case s.Kind == decode.Rate:
		return report.RateToGauge
	}
	return report.GaugeToGauge
}

func seriesBy(read func([]byte) ([]decode.Series, error)) handler {
	return func(q *request, body []byte) error {
		all, err := read(body)
		if err != nil {
			return malformed(err)
		}
		for i := range all {
			q.Report.Metric(all[i].Metric, becomes(&all[i]), all[i].Tags)
		}
		out := mapping.NewOutput(mostOutput)
		return q.finish(out, body, q.Mapper.Series(out, all, mapping.From{}))
	}
}

func metricsV3(q *request, body []byte) error {
	all, err := decode.MetricsV3(body)
	if err != nil {
		return malformed(err)
	}
	for i := range all.Series {
		q.Report.Metric(all.Series[i].Metric, becomes(&all.Series[i]), all.Series[i].Tags)
	}
	for i := range all.Sketches {
		q.Report.Metric(all.Sketches[i].Metric, report.ToExponential, all.Sketches[i].Tags)
	}
	for i := range all.Histograms {
		q.Report.Metric(all.Histograms[i].Metric, report.ToHistogram, all.Histograms[i].Tags)
	}
	out := mapping.NewOutput(mostOutput)
	from := mapping.From{}
	return q.finish(out, body, errors.Join(q.Mapper.Series(out, all.Series, from), q.Mapper.Sketches(out, all.Sketches, from),
		q.Mapper.Histograms(out, all.Histograms, from)))
}

func sketches(q *request, body []byte) error {
	all, err := decode.Sketches(body)
	if err != nil {
		return malformed(err)
	}
	for i := range all {
		q.Report.Metric(all[i].Metric, report.ToExponential, all[i].Tags)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Sketches(out, all, mapping.From{}))
}

func distributions(q *request, body []byte) error {
	all, err := decode.Distributions(body)
	if err != nil {
		return malformed(err)
	}
	for i := range all {
		q.Report.Metric(all[i].Metric, report.ToExponential, all[i].Tags)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Distributions(out, all, mapping.From{}))
}

func checks(q *request, body []byte) error {
	all, err := decode.Checks(body)
	if err != nil {
		return malformed(err)
	}
	for i := range all {
		q.Report.Metric(all[i].Name, report.CheckToGauge, all[i].Tags)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Checks(out, all, mapping.From{}))
}

func events(q *request, body []byte) error {
	e, err := decode.OneEvent(body)
	if err != nil {
		return malformed(err)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Events(out, []decode.Event{e}, mapping.From{}))
}

func readIntake(q *request, body []byte) error {
	in, err := decode.ReadIntake(body)
	if err != nil {
		return malformed(err)
	}
	for _, what := range in.Others {
		q.Report.Unused("intake", what)
	}
	if len(in.Events) == 0 {
		q.Drops.Add(q.Service, "host_metadata_unused", 1)
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Events(out, in.Events, mapping.From{}))
}

func logs(q *request, body []byte) error {
	all, err := decode.Logs(body, !isJSON(q))
	if err != nil {
		return malformed(err)
	}
	query := q.URL.Query()
	tags := decode.SplitTags(query.Get("ddtags"))
	for i := range all {
		l := &all[i]
		l.Tags = append(l.Tags, tags...)
		for _, p := range []struct {
			to   *string
			name string
		}{{&l.Source, "ddsource"}, {&l.Service, "service"}, {&l.Host, "hostname"}} {
			if *p.to == "" {
				*p.to = query.Get(p.name)
			}
		}
	}
	out := mapping.NewOutput(mostOutput)
	return q.finish(out, body, q.Mapper.Logs(out, all, mapping.From{}))
}

func statsd(q *request, body []byte) error {
	q.Statsd(q.tenant, body)
	return nil
}
