// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	routev1 "github.com/busbar/busbar/contract/route/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const schemaHeartbeat = "busbar.fleet.v1.Heartbeat"

// schemaOf names what a message holds: as its header says, else as its subject does, for not everybody writes headers.
func schemaOf(root subject.Root, d *bus.Delivery) string {
	if schema := d.Header(subject.HeaderSchema); schema != "" {
		return schema
	}
	from := d.Subject
	if l := readLetter(root, d); l.Subject != "" {
		from = l.Subject
	}
	if p, ok := root.ParseOTLP(from); ok {
		return p.Signal.Schema()
	}
	if p, ok := root.ParseOut(from); ok {
		return p.Signal.Schema()
	}
	switch rest := strings.TrimPrefix(from, string(root)+"."); {
	case strings.HasPrefix(rest, "raw.exchange."):
		return subject.SchemaExchanges
	case strings.HasPrefix(rest, "raw.process."):
		return subject.SchemaProcesses
	case strings.HasPrefix(rest, "beat."):
		return schemaHeartbeat
	}
	return ""
}

// decode turns a payload into JSON: OTLP in its own JSON form, our messages in that of protobuf, but with trace and span ids
// in hexadecimal, as OTLP has them, and IP addresses as people write them.
func decode(schema string, data []byte) ([]byte, error) {
	switch schema {
	case subject.SchemaExchanges:
		return decodeProto(data, new(eventv1.ExchangeBatch))
	case subject.SchemaProcesses:
		return decodeProto(data, new(eventv1.ProcessBatch))
	case subject.SchemaShape:
		return decodeProto(data, new(routev1.Shape))
	case schemaHeartbeat:
		return decodeProto(data, new(fleetv1.Heartbeat))
	case subject.SchemaTraces:
		return decodeOTLP(data, ptraceotlp.NewExportRequest())
	case subject.SchemaMetrics:
		return decodeOTLP(data, pmetricotlp.NewExportRequest())
	case subject.SchemaLogs:
		return decodeOTLP(data, plogotlp.NewExportRequest())
	case "":
		return nil, fmt.Errorf("decode payload: neither header %s nor subject tell what it is", subject.HeaderSchema)
	}
	return nil, fmt.Errorf("decode payload: unknown schema %q", schema)
}

func decodeProto(data []byte, m proto.Message) ([]byte, error) {
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	out, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(legible("", tree))
}

// legible rewrites the bytes below a key that people know in another form than base64.
func legible(key string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k, below := range v {
			v[k] = legible(k, below)
		}
	case []any:
		for i, below := range v {
			v[i] = legible(key, below)
		}
	case string:
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			break
		}
		switch key {
		case "traceId", "spanId", "parentSpanId":
			return hex.EncodeToString(raw)
		case "addresses":
			if ip, ok := netip.AddrFromSlice(raw); ok {
				return ip.String()
			}
		}
	}
	return value
}

// otlpRequest is an export request of any signal.
type otlpRequest interface {
	UnmarshalProto(data []byte) error
	MarshalJSON() ([]byte, error)
}

func decodeOTLP(data []byte, request otlpRequest) ([]byte, error) {
	if err := request.UnmarshalProto(data); err != nil {
		return nil, fmt.Errorf("decode OTLP: %w", err)
	}
	return request.MarshalJSON()
}
