// SPDX-License-Identifier: Apache-2.0

package wire

// message numbers the types of OTLP 1.x that an export request is made of.
type message uint8

const (
	none message = iota
	tracesRequest
	metricsRequest
	logsRequest
	resourceSpans
	resourceMetrics
	resourceLogs
	scopeSpans
	scopeMetrics
	scopeLogs
	span
	metric
	logRecord
	gauge
	sum
	histogram
	exponential
	summary
	numberPoint
	histogramPoint
	exponentialPoint
	summaryPoint
	resource
	scope
	keyValue
	anyValue
	arrayValue
	keyValueList
	entityRef
	event
	link
	status
	exemplar
	buckets
	quantile
	messages // how many there are
)

// kind is what a field holds on the wire.
type kind uint8

const (
	unknown kind = iota // to OTLP as we know it: passes as it is
	varint
	fixed64
	fixed32
	text     // or bytes
	below    // a message
	traceID  // 16 bytes, or none; from here on the form is not all
	spanID   // 8 bytes, or none
	varints  // one, or several packed
	fixed64s // the same
)

type field struct {
	kind  kind
	below message
}

const (
	maxField       = 16   // the highest number that OTLP has, but for one:
	oldScopesField = 1000 // what scopes were before OTLP 0.15
)

// fields are those of a message by number.
type fields [maxField + 1]field

// schema says what the fields of every message are. It follows the .proto files of OTLP, and the decoder of the stages that come after
// this one refuses nothing that it takes: a test compares them.
var schema = [messages]fields{ //nolint:gochecknoglobals // constant
	tracesRequest:   {1: {below, resourceSpans}},
	metricsRequest:  {1: {below, resourceMetrics}},
	logsRequest:     {1: {below, resourceLogs}},
	resourceSpans:   {1: {below, resource}, 2: {below, scopeSpans}, 3: {kind: text}},
	resourceMetrics: {1: {below, resource}, 2: {below, scopeMetrics}, 3: {kind: text}},
	resourceLogs:    {1: {below, resource}, 2: {below, scopeLogs}, 3: {kind: text}},
	scopeSpans:      {1: {below, scope}, 2: {below, span}, 3: {kind: text}},
	scopeMetrics:    {1: {below, scope}, 2: {below, metric}, 3: {kind: text}},
	scopeLogs:       {1: {below, scope}, 2: {below, logRecord}, 3: {kind: text}},
	resource:        {1: {below, keyValue}, 2: {kind: varint}, 3: {below, entityRef}},
	scope:           {1: {kind: text}, 2: {kind: text}, 3: {below, keyValue}, 4: {kind: varint}},
	keyValue:        {1: {kind: text}, 2: {below, anyValue}, 3: {kind: varint}},
	anyValue: {
		1: {kind: text}, 2: {kind: varint}, 3: {kind: varint}, 4: {kind: fixed64}, 5: {below, arrayValue}, 6: {below, keyValueList},
		7: {kind: text}, 8: {kind: varint},
	},
	arrayValue:   {1: {below, anyValue}},
	keyValueList: {1: {below, keyValue}},
	entityRef:    {1: {kind: text}, 2: {kind: text}, 3: {kind: text}, 4: {kind: text}},

	span: {
		1: {kind: traceID}, 2: {kind: spanID}, 3: {kind: text}, 4: {kind: spanID}, 5: {kind: text}, 6: {kind: varint},
		7: {kind: fixed64}, 8: {kind: fixed64}, 9: {below, keyValue}, 10: {kind: varint}, 11: {below, event}, 12: {kind: varint},
		13: {below, link}, 14: {kind: varint}, 15: {below, status}, 16: {kind: fixed32},
	},
	event:  {1: {kind: fixed64}, 2: {kind: text}, 3: {below, keyValue}, 4: {kind: varint}},
	link:   {1: {kind: traceID}, 2: {kind: spanID}, 3: {kind: text}, 4: {below, keyValue}, 5: {kind: varint}, 6: {kind: fixed32}},
	status: {2: {kind: text}, 3: {kind: varint}},

	metric: {
		1: {kind: text}, 2: {kind: text}, 3: {kind: text}, 5: {below, gauge}, 7: {below, sum}, 9: {below, histogram},
		10: {below, exponential}, 11: {below, summary}, 12: {below, keyValue},
	},
	gauge:       {1: {below, numberPoint}},
	sum:         {1: {below, numberPoint}, 2: {kind: varint}, 3: {kind: varint}},
	histogram:   {1: {below, histogramPoint}, 2: {kind: varint}},
	exponential: {1: {below, exponentialPoint}, 2: {kind: varint}},
	summary:     {1: {below, summaryPoint}},
	numberPoint: {
		2: {kind: fixed64}, 3: {kind: fixed64}, 4: {kind: fixed64}, 5: {below, exemplar}, 6: {kind: fixed64}, 7: {below, keyValue},
		8: {kind: varint},
	},
	histogramPoint: {
		2: {kind: fixed64}, 3: {kind: fixed64}, 4: {kind: fixed64}, 5: {kind: fixed64}, 6: {kind: fixed64s}, 7: {kind: fixed64s},
		8: {below, exemplar}, 9: {below, keyValue}, 10: {kind: varint}, 11: {kind: fixed64}, 12: {kind: fixed64},
	},
	exponentialPoint: {
		1: {below, keyValue}, 2: {kind: fixed64}, 3: {kind: fixed64}, 4: {kind: fixed64}, 5: {kind: fixed64}, 6: {kind: varint},
		7: {kind: fixed64}, 8: {below, buckets}, 9: {below, buckets}, 10: {kind: varint}, 11: {below, exemplar}, 12: {kind: fixed64},
		13: {kind: fixed64}, 14: {kind: fixed64},
	},
	buckets: {1: {kind: varint}, 2: {kind: varints}},
	summaryPoint: {
		2: {kind: fixed64}, 3: {kind: fixed64}, 4: {kind: fixed64}, 5: {kind: fixed64}, 6: {below, quantile}, 7: {below, keyValue},
		8: {kind: varint},
	},
	quantile: {1: {kind: fixed64}, 2: {kind: fixed64}},
	exemplar: {2: {kind: fixed64}, 3: {kind: fixed64}, 4: {kind: spanID}, 5: {kind: traceID}, 6: {kind: fixed64}, 7: {below, keyValue}},

	logRecord: {
		1: {kind: fixed64}, 2: {kind: varint}, 3: {kind: text}, 5: {below, anyValue}, 6: {below, keyValue}, 7: {kind: varint},
		8: {kind: fixed32}, 9: {kind: traceID}, 10: {kind: spanID}, 11: {kind: fixed64}, 12: {kind: text},
	},
}

// counts tells which messages are records.
var counts = [messages]int{ //nolint:gochecknoglobals // constant
	span: 1, logRecord: 1, numberPoint: 1, histogramPoint: 1, exponentialPoint: 1, summaryPoint: 1,
}

// names are those of the .proto files, for errors.
var names = [messages]string{ //nolint:gochecknoglobals // constant
	tracesRequest: "ExportTraceServiceRequest", metricsRequest: "ExportMetricsServiceRequest", logsRequest: "ExportLogsServiceRequest",
	resourceSpans: "ResourceSpans", resourceMetrics: "ResourceMetrics", resourceLogs: "ResourceLogs",
	scopeSpans: "ScopeSpans", scopeMetrics: "ScopeMetrics", scopeLogs: "ScopeLogs", span: "Span", metric: "Metric", logRecord: "LogRecord",
	gauge: "Gauge", sum: "Sum", histogram: "Histogram", exponential: "ExponentialHistogram", summary: "Summary",
	numberPoint: "NumberDataPoint", histogramPoint: "HistogramDataPoint", exponentialPoint: "ExponentialHistogramDataPoint",
	summaryPoint: "SummaryDataPoint", resource: "Resource", scope: "InstrumentationScope", keyValue: "KeyValue", anyValue: "AnyValue",
	arrayValue: "ArrayValue", keyValueList: "KeyValueList", entityRef: "EntityRef", event: "Event", link: "Link", status: "Status",
	exemplar: "Exemplar", buckets: "Buckets", quantile: "ValueAtQuantile",
}
