// SPDX-License-Identifier: Apache-2.0

package ingestotlp

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/ingest"
)

// gRPC is spoken here, over the server of net/http, instead of by the library's own: an export is one request and one answer, which
// is little, and this way it goes through the same gate as HTTP, which counts the bytes of all requests as they come. The library's server
// collects a message before it asks anybody.

const (
	grpcContent   = "application/grpc"
	grpcEncodings = "identity,gzip,zstd,snappy,deflate"
	grpcPrefix    = 5 // bytes before a message: whether it is compressed, and its length
)

// readGRPC returns the export request.
func readGRPC(r *http.Request, _ subject.Signal, body *ingest.Body) ([]byte, error) {
	if len(body.Data) < grpcPrefix || int(binary.BigEndian.Uint32(body.Data[1:])) != len(body.Data)-grpcPrefix {
		return nil, ingest.Refuse(http.StatusBadRequest, "malformed", "want one message of the length that it says")
	}
	flag := body.Data[0]
	body.Data = body.Data[grpcPrefix:]
	switch encoding := r.Header.Get("Grpc-Encoding"); {
	case flag == 0:
		return body.Data, nil
	case flag != 1 || encoding == "":
		return nil, ingest.Refuse(http.StatusBadRequest, "malformed", "a message is compressed and grpc-encoding does not say how")
	default:
		err := body.Decode(r.Context(), encoding)
		return body.Data, err
	}
}

// grpcAnswer answers as gRPC does.
type grpcAnswer struct{}

func (grpcAnswer) accept(w http.ResponseWriter, rejected int, why string) int {
	h := w.Header()
	h.Set("Content-Type", grpcContent)
	h.Set("Grpc-Accept-Encoding", grpcEncodings)
	h.Set("Trailer", "Grpc-Status")
	w.WriteHeader(http.StatusOK)
	message := response(rejected, why)
	frame := make([]byte, grpcPrefix, grpcPrefix+len(message))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message))) //nolint:gosec // some hundred bytes
	_, _ = w.Write(append(frame, message...))                   // to whoever is still there
	h.Set("Grpc-Status", "0")
	return http.StatusOK
}

func (grpcAnswer) refuse(w http.ResponseWriter, r *ingest.Refusal) int {
	h := w.Header()
	h.Set("Content-Type", grpcContent)
	h.Set("Grpc-Accept-Encoding", grpcEncodings)
	h.Set("Grpc-Status", strconv.Itoa(int(code(r))))
	h.Set("Grpc-Message", percent(r.Error()))
	h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(statusOf(r)))
	w.WriteHeader(http.StatusOK)
	return r.Status
}

// percent encodes a text as Grpc-Message wants it.
func percent(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// code is the status of gRPC for a refusal. OTLP clients repeat Unavailable, DeadlineExceeded, and ResourceExhausted if it says when.
func code(r *ingest.Refusal) codes.Code {
	switch r.Status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusRequestTimeout:
		return codes.DeadlineExceeded
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusUnsupportedMediaType, http.StatusNotImplemented, http.StatusNotFound, http.StatusMethodNotAllowed:
		return codes.Unimplemented
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	default:
		return codes.InvalidArgument
	}
}

// statusOf is a refusal as a google.rpc.Status, with RetryInfo if it is of use to come again.
func statusOf(r *ingest.Refusal) []byte {
	s := &rpcstatus.Status{Code: int32(code(r)), Message: strings.ToValidUTF8(r.Error(), "\uFFFD")} //nolint:gosec // below 17
	if r.After > 0 {
		info, err := anypb.New(&errdetails.RetryInfo{RetryDelay: durationpb.New(r.After.Round(time.Millisecond))})
		if err == nil {
			s.Details = append(s.Details, info)
		}
	}
	data, _ := proto.Marshal(s) // its texts are sound
	return data
}
