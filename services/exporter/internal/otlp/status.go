// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxThrottle bounds what a back end may ask for, so that a mistaken date does not silence a destination for good.
const maxThrottle = 10 * time.Minute

// HTTPError classifies an answer of an HTTP back end other than success, of whose body detail is the beginning.
func HTTPError(code int, header http.Header, detail string) *Error {
	return httpError(code, header, clip(detail))
}

// GRPCError classifies the status of a call that failed.
func GRPCError(s *status.Status) *Error { return grpcError(s.Err()) }

// httpError classifies an answer other than success. Only what the specification calls bad data is Invalid: a wrong
// password or path must hold data back, not throw it away.
func httpError(code int, header http.Header, detail string) *Error {
	err := errors.New(strconv.Itoa(code) + " " + http.StatusText(code))
	if detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	switch code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &Error{Class: Invalid, Reason: "http_" + strconv.Itoa(code), Err: err}
	case http.StatusTooManyRequests:
		return &Error{Class: Throttled, After: retryAfter(header), Err: err}
	case http.StatusServiceUnavailable:
		if after := retryAfter(header); after > 0 {
			return &Error{Class: Throttled, After: after, Err: err}
		}
	case http.StatusRequestTimeout:
	default:
		if code < http.StatusInternalServerError {
			return &Error{Class: Refused, Err: err}
		}
	}
	return &Error{Class: Unavailable, Err: err}
}

// retryAfter reads the header of that name: seconds, or a date. It is 0 when there is none or it makes no sense.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(v, 10, 32); err == nil {
		return boundThrottle(time.Duration(seconds) * time.Second)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := time.Now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date // the back end's clock may differ from ours
	}
	return boundThrottle(at.Sub(now))
}

func boundThrottle(d time.Duration) time.Duration { return min(max(d, 0), maxThrottle) }

// grpcError classifies the status of a call that failed.
func grpcError(err error) *Error {
	s := status.Convert(err)
	after := retryInfo(s)
	err = errors.New(s.Code().String() + ": " + clip(s.Message()))
	switch s.Code() {
	case codes.InvalidArgument, codes.OutOfRange:
		return &Error{Class: Invalid, Reason: "grpc_" + strconv.Itoa(int(s.Code())), Err: err}
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.NotFound:
		return &Error{Class: Refused, Err: err}
	case codes.ResourceExhausted:
		if after == 0 && tooLarge(s.Message()) {
			return &Error{Class: Invalid, Reason: "too_large", Err: err}
		}
	}
	if after > 0 {
		return &Error{Class: Throttled, After: after, Err: err}
	}
	return &Error{Class: Unavailable, Err: err}
}

// tooLarge recognises the words of the gRPC libraries for a message over the receiver's limit. The code is the same as for
// a quota, but waiting does not help.
func tooLarge(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "larger than max") || strings.Contains(m, "exceeds maximum")
}

// retryInfo returns the delay that the status asks for, 0 if none.
func retryInfo(s *status.Status) time.Duration {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return boundThrottle(info.GetRetryDelay().AsDuration())
		}
	}
	return 0
}
