// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"math"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"

	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// slot is something that a span may say under several names.
type slot uint8

const (
	none slot = iota
	method
	status
	address // of HTTP: a URL
	route
	agent
	client
	server
	port
	database
	namespace
	query
	redis
	memcached
	documents // a query in JSON
	rpcMethod
	rpcStatus
	rpcPath
	rpcSystem
	errorType
	errorMessage
	errorStack
	baseService
	linksText
	eventsText
	state
	kindWord
	component
	psrRule
	psrAgent
	runtime
	pid
	language
	ignored
	slots
)

// place returns what a key says, and its rank among the names of that: the lowest counts.
func place(key string) (s slot, rank uint8) { //nolint:gocyclo // a table
	switch key {
	case "http.request.method":
		return method, 0
	case "http.method":
		return method, 1
	case "http.response.status_code":
		return status, 0
	case "http.status_code":
		return status, 1
	case "url.full":
		return address, 0
	case "http.url":
		return address, 1
	case "http.route":
		return route, 0
	case "user_agent.original":
		return agent, 0
	case "http.useragent":
		return agent, 1
	case "client.address":
		return client, 0
	case "http.client_ip":
		return client, 1
	case "server.address":
		return server, 0
	case "out.host":
		return server, 1
	case "peer.hostname":
		return server, 2
	case "network.destination.name":
		return server, 3
	case "messaging.kafka.bootstrap.servers":
		return server, 4
	case "server.port":
		return port, 0
	case "out.port":
		return port, 1
	case "network.destination.port":
		return port, 2
	case "db.system.name":
		return database, 0
	case "db.system":
		return database, 1
	case "db.type":
		return database, 2
	case "db.namespace":
		return namespace, 0
	case "db.name":
		return namespace, 1
	case "db.instance":
		return namespace, 2
	case "db.query.text":
		return query, 0
	case "sql.query":
		return query, 1
	case "db.statement":
		return query, 2
	case "redis.raw_command", "valkey.raw_command":
		return redis, 0
	case "memcached.command":
		return memcached, 0
	case "mongodb.query", "elasticsearch.body", "opensearch.body":
		return documents, 0
	case "rpc.method":
		return rpcMethod, 0
	case "rpc.method_name":
		return rpcMethod, 1
	case "rpc.grpc.status_code":
		return rpcStatus, 0
	case "grpc.code":
		return rpcStatus, 1
	case "rpc.grpc.full_method":
		return rpcPath, 0
	case "rpc.system":
		return rpcSystem, 0
	case "error.type":
		return errorType, 0
	case "error.message":
		return errorMessage, 0
	case "error.msg":
		return errorMessage, 1
	case "error.stack":
		return errorStack, 0
	case "error.handling_stack":
		return errorStack, 1
	case "_dd.base_service":
		return baseService, 0
	case "_dd.span_links":
		return linksText, 0
	case "events":
		return eventsText, 0
	case "tracestate":
		return state, 0
	case "span.kind":
		return kindWord, 0
	case "component":
		return component, 0
	case "_dd.rule_psr":
		return psrRule, 0
	case "_dd.agent_psr":
		return psrAgent, 0
	case "runtime-id":
		return runtime, 0
	case "process_id":
		return pid, 0
	case "language":
		return language, 0
	case "env", "version", "_sampling_priority_v1", "_dd.p.tid", "_dd.p.dm", "_dd.hostname", "_dd.origin":
		return ignored, 0 // said elsewhere
	}
	return none, 0
}

// view is what a span says, by what it is.
type view struct {
	values [slots]otlp.Value
	ranks  [slots]uint8
	rest   []otlp.Pair
}

// read reads the attributes of a span. Keep has names kept that are others in OpenTelemetry.
func (v *view) read(out *Output, s *idx.InternalSpan, keep bool) {
	v.values = [slots]otlp.Value{}
	v.rest = v.rest[:0]
	for ref, value := range s.Attributes() {
		if value == nil {
			continue
		}
		key := s.Strings.Get(ref)
		at, rank := place(key)
		switch {
		case at == ignored:
		case at != none:
			if v.values[at].Kind == 0 || rank < v.ranks[at] {
				v.values[at], v.ranks[at] = convert(s.Strings, value, maxNesting), rank
			}
			if keep && renamed(at) {
				v.rest = append(v.rest, otlp.Pair{Key: key, Value: convert(s.Strings, value, maxNesting)})
			}
		case strings.HasPrefix(key, "_"):
			out.Left[InternalAttribute]++
		default:
			v.rest = append(v.rest, otlp.Pair{Key: key, Value: whole(key, convert(s.Strings, value, maxNesting))})
		}
	}
}

// renamed tells whether something goes out under another name than it may have come under.
func renamed(s slot) bool {
	switch s {
	case method, status, agent, client, server, port, database, namespace, component, rpcMethod, rpcStatus:
		return true
	default: // structures, what is the same, and what may have to be hidden
		return false
	}
}

// text is what a slot says, as text.
func (v *view) text(s slot) string {
	value := &v.values[s]
	switch value.Kind {
	case otlp.Text, otlp.Bytes:
		return value.Text
	case otlp.Int:
		return strconv.FormatInt(value.Int, 10)
	case otlp.Float:
		return strconv.FormatFloat(value.Float, 'f', -1, 64)
	case otlp.Bool:
		return strconv.FormatBool(value.Int != 0)
	case otlp.List, otlp.Map:
	}
	return ""
}

// number is what a slot says, if it is a whole number.
func (v *view) number(s slot) (int64, bool) {
	value := &v.values[s]
	switch value.Kind {
	case otlp.Int:
		return value.Int, true
	case otlp.Float:
		if f := value.Float; f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), true
		}
	case otlp.Text:
		n, err := strconv.ParseInt(value.Text, 10, 64)
		return n, err == nil
	case otlp.Bool, otlp.List, otlp.Map, otlp.Bytes:
	}
	return 0, false
}

// maxNesting is how deep values may contain each other.
const maxNesting = 16

// convert makes a value of one of Datadog's.
func convert(strings *idx.StringTable, v *idx.AnyValue, deeper int) otlp.Value {
	if v == nil || deeper == 0 {
		return otlp.Value{}
	}
	switch v := v.Value.(type) {
	case *idx.AnyValue_StringValueRef:
		return otlp.String(strings.Get(v.StringValueRef))
	case *idx.AnyValue_BoolValue:
		return otlp.Truth(v.BoolValue)
	case *idx.AnyValue_DoubleValue:
		return otlp.Number(v.DoubleValue)
	case *idx.AnyValue_IntValue:
		return otlp.Integer(v.IntValue)
	case *idx.AnyValue_BytesValue:
		return otlp.Value{Kind: otlp.Bytes, Text: string(v.BytesValue)}
	case *idx.AnyValue_ArrayValue:
		var all []otlp.Value
		for _, e := range v.ArrayValue.GetValues() {
			all = append(all, convert(strings, e, deeper-1))
		}
		return otlp.Values(all)
	case *idx.AnyValue_KeyValueList:
		var all []otlp.Pair
		for _, e := range v.KeyValueList.GetKeyValues() {
			all = append(all, otlp.Pair{Key: strings.Get(e.GetKey()), Value: convert(strings, e.GetValue(), deeper-1)})
		}
		return otlp.Pairs(all)
	}
	return otlp.Value{}
}

// whole makes whole numbers of those that are, which Datadog's formats keep as fractions.
func whole(key string, v otlp.Value) otlp.Value {
	if v.Kind != otlp.Float || v.Float != math.Trunc(v.Float) || math.Abs(v.Float) >= 1<<53 {
		return v
	}
	switch key {
	case "network.peer.port", "network.local.port", "client.port", "http.request.body.size", "http.response.body.size",
		"http.request.resend_count", "messaging.batch.message_count", "messaging.message.body.size", "messaging.kafka.offset",
		"db.response.returned_rows", "db.operation.batch.size", "db.row_count", "thread.id", "kafka.partition", "kafka.offset":
		return otlp.Integer(int64(v.Float))
	}
	return v
}

// system is what OpenTelemetry calls a database.
func system(name string) string {
	switch name {
	case "postgres", "pgx":
		return "postgresql"
	case "mssql", "sqlserver":
		return "microsoft.sql_server"
	case "mongo":
		return "mongodb"
	case "oracle":
		return "oracle.db"
	}
	return name
}

// grpcCode is the number of a status of gRPC.
func grpcCode(name string) (int64, bool) {
	if n, err := strconv.ParseInt(name, 10, 8); err == nil {
		return n, n >= 0 && n <= 16
	}
	for i, known := range [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALIDARGUMENT", "DEADLINEEXCEEDED", "NOTFOUND", "ALREADYEXISTS", "PERMISSIONDENIED",
		"RESOURCEEXHAUSTED", "FAILEDPRECONDITION", "ABORTED", "OUTOFRANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATALOSS",
		"UNAUTHENTICATED",
	} {
		if strings.EqualFold(strings.ReplaceAll(name, "_", ""), known) || i == 1 && strings.EqualFold(name, "canceled") {
			return int64(i), true
		}
	}
	return 0, false
}
