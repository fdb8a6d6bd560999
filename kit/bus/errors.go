// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"time"
)

// Errors that callers branch on, with errors.Is.
var (
	// ErrClosed: the Bus was closed.
	ErrClosed = errors.New("bus is closed")
	// ErrDisconnected: there is no connection now; it is being re-established.
	ErrDisconnected = errors.New("not connected to NATS")
	// ErrFull: the stream, or the storage behind it, takes no more. Push back on whoever sends.
	ErrFull = errors.New("stream is full")
	// ErrNoStream: no stream takes this subject, and it did not appear within the wait either.
	ErrNoStream = errors.New("no stream takes this subject")
	// ErrNotFound: there is no such stream, or no such message in it.
	ErrNotFound = errors.New("not found")
	// ErrRefused: the stream does not take the message for another reason, such as that it is sealed.
	ErrRefused = errors.New("stream refuses the message")
	// ErrTooLarge: the message exceeds MaxData before compression or the server's limits after it, of which
	// headers have one of their own. A batch was built wrongly.
	ErrTooLarge = errors.New("message is too large")
	// ErrWindowFull: as many messages as allowed are waiting for their acknowledgement.
	ErrWindowFull = errors.New("publish window is full")
)

// Permanent marks err as one that no retry can cure: Consume copies the message to the dead-letter subject of reason and
// ends its delivery. Reason is a short constant of the program, fit for a subject token and a metric label.
func Permanent(reason string, err error) error {
	if err == nil {
		err = errors.New(reason)
	}
	return &permanentError{reason: reason, err: err}
}

// PermanentOf is Permanent for a handler that has done its work but for some part, which it names. The name is kept with the
// dead letter, and comes back as HeaderPart when it is sent again.
func PermanentOf(part, reason string, err error) error {
	return &permanentError{reason: reason, part: part, err: err}
}

// partOf returns the part given to PermanentOf, or "".
func partOf(err error) string {
	if p, ok := errors.AsType[*permanentError](err); ok {
		return p.part
	}
	return ""
}

// IsPermanent tells whether err, or an error it wraps, was made by Permanent.
func IsPermanent(err error) bool {
	_, ok := AsPermanent(err)
	return ok
}

// AsPermanent returns the reason given to Permanent, if err is or wraps such an error.
func AsPermanent(err error) (reason string, ok bool) {
	if p, ok := errors.AsType[*permanentError](err); ok {
		return p.reason, true
	}
	return "", false
}

// Throttled marks err as a request of the next hop to wait: Consume has the message delivered again after delay.
func Throttled(delay time.Duration, err error) error {
	if err == nil {
		err = errors.New("throttled")
	}
	return &throttledError{delay: delay, err: err}
}

// AsThrottled returns the delay given to Throttled, if err is or wraps such an error.
func AsThrottled(err error) (delay time.Duration, ok bool) {
	if t, ok := errors.AsType[*throttledError](err); ok {
		return t.delay, true
	}
	return 0, false
}

// Later has Consume deliver the message again after delay, because something is not known yet. Nothing is wrong, so nothing is logged.
func Later(delay time.Duration) error { return &laterError{delay} }

type laterError struct{ delay time.Duration }

func (e *laterError) Error() string { return "not yet" }

type permanentError struct {
	reason string
	part   string
	err    error
}

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type throttledError struct {
	delay time.Duration
	err   error
}

func (e *throttledError) Error() string { return e.err.Error() }
func (e *throttledError) Unwrap() error { return e.err }
