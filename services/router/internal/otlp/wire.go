// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
)

// The messages of all signals have the same upper half: a request has resources in field 1; each of those has the
// resource itself in 1, its scopes in 2 and its schema URL in 3.
const (
	fieldResources = 1
	fieldScopes    = 2
)

var errWire = errors.New("malformed protobuf")

// Resources cuts an encoded request into its ResourceSpans, ResourceMetrics or ResourceLogs, each as a request of its own
// that has this resource alone. The parts alias b. Fields that OTLP does not know are left behind.
func Resources(b []byte) ([][]byte, error) {
	var parts [][]byte
	err := fields(b, func(n protowire.Number, field, value []byte) error {
		if n == fieldResources && value != nil {
			parts = append(parts, field)
		}
		return nil
	})
	return parts, err
}

// Heads decodes the resources of the parts that Resources returned without what they hold: attributes and schema URL.
// A trace decoder does for every signal, since this half is the same.
func Heads(parts [][]byte) (ptrace.ResourceSpansSlice, error) {
	var request, head []byte
	for _, part := range parts {
		head = head[:0]
		err := fields(content(part), func(n protowire.Number, field, _ []byte) error {
			if n != fieldScopes {
				head = append(head, field...)
			}
			return nil
		})
		if err != nil {
			return ptrace.ResourceSpansSlice{}, err
		}
		request = protowire.AppendTag(request, fieldResources, protowire.BytesType)
		request = protowire.AppendBytes(request, head)
	}
	var u ptrace.ProtoUnmarshaler
	t, err := u.UnmarshalTraces(request)
	if err != nil {
		return ptrace.ResourceSpansSlice{}, fmt.Errorf("decode resources: %w", err)
	}
	return t.ResourceSpans(), nil
}

// Count returns the records in an encoded request: spans, data points or log records.
func Count(s subject.Signal, b []byte) (int, error) {
	if s == subject.Metrics {
		return count(b, pointPath)
	}
	return count(b, recordPath)
}

// The fields that lead from a request to its records. A data point lies in a metric's gauge (5), sum (7), histogram (9),
// exponential histogram (10) or summary (11).
var (
	recordPath = []uint64{bit(fieldResources), bit(fieldScopes), bit(2)}                               //nolint:gochecknoglobals // constant
	pointPath  = []uint64{bit(fieldResources), bit(fieldScopes), bit(2), bit(5, 7, 9, 10, 11), bit(1)} //nolint:gochecknoglobals // constant
)

func bit(fields ...uint) (set uint64) {
	for _, f := range fields {
		set |= 1 << f
	}
	return set
}

func count(b []byte, path []uint64) (total int, err error) {
	err = fields(b, func(n protowire.Number, _, value []byte) error {
		if value == nil || n > 63 || path[0]&(1<<n) == 0 {
			return nil
		}
		if len(path) == 1 {
			total++
			return nil
		}
		below, err := count(value, path[1:])
		total += below
		return err
	})
	return total, err
}

// fields calls fn with each field of an encoded message: its whole encoding, and its content if it is a message, text or
// bytes (never nil then, else nil).
func fields(b []byte, fn func(n protowire.Number, field, value []byte) error) error {
	for len(b) > 0 {
		f, size := NextField(b)
		if size == 0 {
			return errWire
		}
		var value []byte
		if f.Kind == protowire.BytesType {
			value = f.Content
		}
		if err := fn(protowire.Number(f.Number), b[:size], value); err != nil { //nolint:gosec // at most 1<<29-1
			return err
		}
		b = b[size:]
	}
	return nil
}

// content is the inside of a field that fields has found sound.
func content(field []byte) []byte {
	_, _, tag := protowire.ConsumeTag(field)
	value, _ := protowire.ConsumeBytes(field[tag:])
	return value
}
