// SPDX-License-Identifier: Apache-2.0

// Package mapping says what Datadog's data is called in OpenTelemetry. It makes OTLP of what package decode has read, one record after
// another and without memory of what came before, except for the high halves of trace ids. Nothing disappears without a word:
// what has no place keeps its name, and what cannot be kept is counted by reason.
package mapping

import (
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Mapper makes OTLP. Fill in the fields before use; its methods may be called from several goroutines.
type Mapper struct {
	// Keep has names and tags that have other names in OpenTelemetry kept beside them.
	Keep bool
	// Hide makes harmless what a span says of a statement or an address, for clients that do not do it themselves.
	Hide  Hider
	IDs   *IDs
	Scope string // version of the scope, which is named datadog
	Now   func() time.Time
}

// Hider takes values out of what clients say. It may be used from several goroutines.
type Hider interface {
	// SQL takes the literals out of a statement and names its tables, parted by commas.
	SQL(statement, system string) (hidden, tables string)
	Redis(command string) string
	// URL takes user information and the query out of an address.
	URL(address string) string
	// JSON takes the values out of a query of system: mongodb, elasticsearch, opensearch.
	JSON(query, system string) string
	Memcached(command string) string
	// Card takes the numbers of payment cards out of the value of an attribute.
	Card(key, value string) string
}

// Output is what becomes of a request. Its zero value is not ready: use NewOutput.
type Output struct {
	spans, series, logs otlp.Batch
	points              otlp.Metrics
	// Dropped is how many records could not be kept, by reason.
	Dropped map[string]int
	// Left is how many attributes or points are there under another form than they should, or not at all, by reason.
	Left map[string]int
}

// NewOutput returns an empty Output of at most so many bytes for each signal.
func NewOutput(most int) *Output {
	return &Output{
		spans: otlp.Batch{Signal: subject.Traces, Max: most}, series: otlp.Batch{Signal: subject.Metrics, Max: most},
		logs: otlp.Batch{Signal: subject.Logs, Max: most}, points: otlp.Metrics{Max: most},
		Dropped: map[string]int{}, Left: map[string]int{},
	}
}

// Reasons of Output.Dropped.
const (
	BadSpan    = "bad_span"   // without id or start
	BadTrace   = "bad_trace"  // trace id of zero
	NoTime     = "no_time"    // a point whose time cannot be meant
	NotFinite  = "not_finite" // a value that is not a number
	NoName     = "no_name"    // a series without name
	TooMany    = "too_many_tags"
	BadSketch  = "bad_sketch"
	TooLarge   = "too_large" // for a message of the bus
	StrayPoint = "no_values" // a distribution without values
)

// Messages returns what goes onto the bus. The Output is empty afterwards.
func (o *Output) Messages() ([]otlp.Message, error) {
	if err := o.points.Into(&o.series); err != nil {
		return nil, err
	}
	var out []otlp.Message
	for _, b := range []*otlp.Batch{&o.spans, &o.series, &o.logs} {
		msgs, tooLarge := b.Messages()
		out = append(out, msgs...)
		if tooLarge > 0 {
			o.Dropped[TooLarge] += tooLarge
		}
	}
	return out, nil
}

// From is what is known of whoever sends, besides what it sends.
type From struct {
	Host, Env     string // of an Agent
	ContainerID   string
	Language      string
	LangVersion   string
	TracerVersion string
	Raw           bool // the client has not hidden values itself
	StatsComputed bool // the client has counted before it sampled
	Instance      string
}

func (m *Mapper) now() uint64 { return uint64(m.Now().UnixNano()) } //nolint:gosec // after 1970

func (m *Mapper) scope(attributes ...otlp.Pair) otlp.Scope {
	return otlp.NewScope("datadog", m.Scope, attributes...)
}
