// SPDX-License-Identifier: Apache-2.0

// Package ingest is what services that take data from outside have in common: how a request is read within bounds ([Gate]), whose it
// is ([Tenants]), how what was made of it is stored before the sender is told so ([Sink]), and the port on which it comes ([Server]).
//
// A sender gets its success after the bus has the data, or, while the bus is away, a queue on this machine's disk. When neither can
// take more, the sender is told when to come again. What cannot be taken is a [Refusal], in the terms of HTTP, which each protocol
// says in its own way. Nothing here knows what the data means.
package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Refusal is why a request is not taken. It is an error of the sender, or of the moment if After is set.
type Refusal struct {
	Status int           // of HTTP: 400, 401, 403, 408, 413, 415, 429 or 503
	Reason string        // one word, a constant of the program, for metrics
	After  time.Duration // when the sender should come again; zero: it is of no use
	Err    error         // in words, for the sender: it holds no secret
}

// Refuse returns a Refusal that no repetition cures.
func Refuse(status int, reason, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Reason: reason, Err: fmt.Errorf(format, args...)}
}

func busy(status int, reason string, after time.Duration, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Reason: reason, After: after, Err: fmt.Errorf(format, args...)}
}

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// AsRefusal returns err as the Refusal that it is or wraps. Any other error is one of ours: 503, worth another try.
func AsRefusal(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: "other", After: retryAfter, Err: err}
}

// SetRetryAfter sets Retry-After, in whole seconds, if the refusal asks for it. Call it before the status is written.
func (r *Refusal) SetRetryAfter(h http.Header) {
	if r.After > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int((r.After+time.Second-1)/time.Second))))
	}
}

// retryAfter is what a sender is told when it is not known how long something lasts.
const retryAfter = time.Second
