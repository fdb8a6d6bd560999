// SPDX-License-Identifier: Apache-2.0

// Package otlp hands encoded OTLP requests to a back end, over HTTP or gRPC, without looking inside.
//
// A send is one attempt: nil means that the back end has the data, apart from what it says it rejected. Every error is an
// [Error], whose class tells whether another attempt makes sense and when. Repeating, pacing and dead letters are left to
// the caller. Senders may be used by several goroutines.
package otlp

import (
	"errors"
	"fmt"
	"time"

	"github.com/busbar/busbar/contract/subject"
)

// Request is one OTLP export request in its protobuf encoding.
type Request struct {
	Signal subject.Signal
	// ID is equal for each attempt to deliver the same data. It travels as the idempotency key, so that a receiver can
	// recognise what it has already.
	ID string
	// Body is an Export{Trace,Metrics,Logs}ServiceRequest. It must not change, not even after the send has returned: the
	// transport may still be reading it.
	Body []byte
}

// Rejected says what a back end left out of a request that it accepted otherwise. OTLP calls this partial success and
// forbids to send these records again.
type Rejected struct {
	Records int64
	Message string
}

// idempotencyKey is the header, and in lower case the gRPC metadata, that carries Request.ID. Its presence also lets
// net/http repeat a request whose kept-alive connection turns out to be dead.
const idempotencyKey = "Idempotency-Key"

// Class is what a failed send means for the next one.
type Class int

// The classes of errors.
const (
	// Unavailable: no answer, or one that blames the back end. It may work later without anyone's doing.
	Unavailable Class = iota
	// Refused: the answer blames address, credentials or permission. It will not work before someone repairs that, here or
	// there; the data is fine.
	Refused
	// Throttled: the back end says when to come back, in Error.After.
	Throttled
	// Invalid: the back end will never take this data. Reason says why in a word.
	Invalid
)

// String names the class in logs.
func (c Class) String() string {
	return [...]string{"unavailable", "refused", "throttled", "invalid"}[c]
}

// Error is the failure of one attempt.
type Error struct {
	Class  Class
	After  time.Duration // how long a Throttled sender shall wait; 0 when it was not told
	Reason string        // of an Invalid request, a token such as http_400
	Err    error
}

// Error implements error with the words of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns the Error in err; any other error counts as Unavailable.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Class: Unavailable, Err: err}
}

// invalid is an Error about the request itself.
func invalid(reason, format string, args ...any) *Error {
	return &Error{Class: Invalid, Reason: reason, Err: fmt.Errorf(format, args...)}
}
