// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
)

// errResponse says that a response is no protobuf message of the expected shape.
var errResponse = errors.New("malformed response")

// parseRejected reads an Export{Trace,Metrics,Logs}ServiceResponse. The three have one shape: field 1 is the partial
// success, in which field 1 counts the rejected records and field 2 says why.
func parseRejected(b []byte) (Rejected, error) {
	var r Rejected
	err := fields(b, func(number protowire.Number, _ uint64, partial []byte) error {
		if number != 1 {
			return nil
		}
		return fields(partial, func(number protowire.Number, v uint64, text []byte) error {
			switch number {
			case 1:
				r.Records = max(int64(v), 0) //nolint:gosec // an int64 on the wire
			case 2:
				r.Message = clip(string(text))
			}
			return nil
		})
	})
	return r, err
}

// parseRejectedJSON is parseRejected for servers that answer in JSON. JSON writes int64 as text, and some write a number.
func parseRejectedJSON(b []byte) (Rejected, error) {
	type count = json.Number
	var response struct {
		PartialSuccess struct {
			Spans   count  `json:"rejectedSpans"`
			Points  count  `json:"rejectedDataPoints"`
			Records count  `json:"rejectedLogRecords"`
			Message string `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if err := json.Unmarshal(b, &response); err != nil {
		return Rejected{}, errResponse
	}
	p := response.PartialSuccess
	r := Rejected{Message: clip(p.Message)}
	for _, n := range []count{p.Spans, p.Points, p.Records} {
		if v, err := n.Int64(); err == nil {
			r.Records += max(v, 0)
		}
	}
	return r, nil
}

// parseStatusMessage returns the message of a google.rpc.Status, the body of an OTLP/HTTP failure.
func parseStatusMessage(b []byte) string {
	message := ""
	err := fields(b, func(number protowire.Number, _ uint64, text []byte) error {
		if number == 2 {
			message = string(text)
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return message
}

// fields calls fn for each field of a message, with the value of a varint or the bytes of a length-delimited field.
func fields(b []byte, fn func(number protowire.Number, v uint64, content []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errResponse
		}
		b = b[n:]
		var v uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errResponse
		}
		if err := fn(number, v, content); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// maxDetail bounds what a back end may add to our errors and logs.
const maxDetail = 300

// clip makes one printable line of at most maxDetail characters of what a back end said.
func clip(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > maxDetail {
		return string(r[:maxDetail]) + "…"
	}
	return s
}
