// SPDX-License-Identifier: Apache-2.0

package ingestotlp

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/ingest"
)

// Content types of OTLP over HTTP.
const (
	contentProtobuf = "application/x-protobuf"
	contentJSON     = "application/json"
)

// contentType is that of a request, in a word; it is contentProtobuf for application/protobuf too.
func contentType(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	if media == "application/protobuf" {
		return contentProtobuf
	}
	return media
}

// acceptable refuses a body before it is read.
func acceptable(h http.Header, rt route) error {
	if t := contentType(h); !rt.grpc && t != contentProtobuf && t != contentJSON {
		return ingest.Refuse(http.StatusUnsupportedMediaType, "content_type", "want Content-Type %s or %s", contentProtobuf, contentJSON)
	}
	return nil
}

// readHTTP returns the export request, in protobuf.
func readHTTP(r *http.Request, s subject.Signal, body *ingest.Body) ([]byte, error) {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if err := body.Decode(r.Context(), encoding); err != nil {
			return nil, err
		}
	}
	if contentType(r.Header) == contentProtobuf {
		return body.Data, nil
	}
	return fromJSON(r.Context(), s, body)
}

const (
	maxNesting  = 300 // of JSON: an attribute takes three where protobuf takes two
	objectBytes = 400 // what the decoder makes of the smallest object, no less
)

// fromJSON makes protobuf of JSON, which is no longer.
func fromJSON(ctx context.Context, s subject.Signal, body *ingest.Body) (data []byte, err error) {
	objects, depth := survey(body.Data)
	if depth > maxNesting {
		return nil, ingest.Refuse(http.StatusBadRequest, "malformed", "malformed JSON: nested more than %d deep", maxNesting)
	}
	err = body.Work(ctx, int64(objects)*objectBytes+int64(len(body.Data)), func() error {
		data, err = convert(s, body.Data)
		return err
	})
	return data, err
}

func convert(s subject.Signal, text []byte) ([]byte, error) {
	var request interface {
		UnmarshalJSON(data []byte) error
		MarshalProto() ([]byte, error)
	}
	switch s {
	case subject.Metrics:
		request = pmetricotlp.NewExportRequest()
	case subject.Logs:
		request = plogotlp.NewExportRequest()
	default:
		request = ptraceotlp.NewExportRequest()
	}
	if err := request.UnmarshalJSON(text); err != nil {
		return nil, ingest.Refuse(http.StatusBadRequest, "malformed", "malformed JSON: %.300s", err.Error())
	}
	data, err := request.MarshalProto()
	if err != nil {
		return nil, ingest.Refuse(http.StatusBadRequest, "malformed", "JSON that is no OTLP: %w", err)
	}
	return data, nil
}

// survey counts the objects and lists of a JSON text, and how deep they are nested, so that one knows what decoding it takes.
func survey(text []byte) (objects, deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			objects++
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return objects, deepest
}

// httpAnswer answers as OTLP over HTTP does, in the encoding of the request.
type httpAnswer struct {
	contentType string
	signal      subject.Signal
}

func (a httpAnswer) accept(w http.ResponseWriter, rejected int, why string) int {
	if a.contentType != contentJSON {
		a.write(w, http.StatusOK, contentProtobuf, response(rejected, why))
		return http.StatusOK
	}
	answer := map[string]any{}
	if rejected > 0 {
		field := map[subject.Signal]string{
			subject.Traces: "rejectedSpans", subject.Metrics: "rejectedDataPoints", subject.Logs: "rejectedLogRecords",
		}[a.signal]
		answer["partialSuccess"] = map[string]string{field: strconv.Itoa(rejected), "errorMessage": why}
	}
	text, _ := json.Marshal(answer) // texts can be marshaled
	a.write(w, http.StatusOK, contentJSON, text)
	return http.StatusOK
}

// response encodes the response of an export of any signal.
func response(rejected int, why string) []byte {
	if rejected == 0 {
		return nil
	}
	var partial []byte
	partial = protowire.AppendVarint(protowire.AppendTag(partial, 1, protowire.VarintType), uint64(rejected)) //nolint:gosec // not negative
	partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), why)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

func (a httpAnswer) refuse(w http.ResponseWriter, r *ingest.Refusal) int {
	r.SetRetryAfter(w.Header())
	if a.contentType == contentProtobuf {
		a.write(w, r.Status, contentProtobuf, statusOf(r))
		return r.Status
	}
	text, _ := json.Marshal(map[string]any{"code": code(r), "message": r.Error()}) // texts can be marshaled
	a.write(w, r.Status, contentJSON, text)
	return r.Status
}

func (a httpAnswer) write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // to whoever is still there
}
