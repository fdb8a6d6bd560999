// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strconv"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// failed tells whether the exchange is an error of the side that it is seen from. One that a reset cut off is, whatever its status.
func (x *exchange) failed() bool {
	if x.raw.GetOutcome() == eventv1.Outcome_OUTCOME_RESET {
		return true
	}
	return x.secret == nil && (x.status == 0 || x.badStatus())
}

func (x *exchange) badStatus() bool {
	return x.status >= 500 || x.status >= 400 && x.side == route.Client
}

// fault is the value of error.type of a failed exchange, and what the status of its span says besides.
func (x *exchange) fault() (kind, message string) {
	switch x.raw.GetOutcome() {
	case eventv1.Outcome_OUTCOME_RESET:
		kind, message = reset(x.raw.GetAbort())
	case eventv1.Outcome_OUTCOME_CLOSED:
		kind = "connection_closed"
	case eventv1.Outcome_OUTCOME_NO_RESPONSE:
		kind = "no_response"
	case eventv1.Outcome_OUTCOME_UNSPECIFIED, eventv1.Outcome_OUTCOME_COMPLETE, eventv1.Outcome_OUTCOME_SUPERSEDED:
		fallthrough
	default: // of a later version
		kind = "_OTHER"
	}
	if x.badStatus() {
		kind = strconv.FormatUint(uint64(x.status), 10)
	}
	return kind, message
}

// reset says why a connection was reset.
func reset(why eventv1.Abort) (kind, message string) {
	switch why {
	case eventv1.Abort_ABORT_LOCAL:
		return "connection_aborted", "aborted here"
	case eventv1.Abort_ABORT_PEER:
		return "connection_reset", "reset by peer"
	case eventv1.Abort_ABORT_TIMED_OUT:
		return "timeout", "timed out"
	case eventv1.Abort_ABORT_BROKEN_PIPE:
		return "broken_pipe", "broken pipe"
	case eventv1.Abort_ABORT_UNREACHABLE:
		return "unreachable", "network unreachable"
	case eventv1.Abort_ABORT_UNSPECIFIED, eventv1.Abort_ABORT_OTHER:
	}
	return "connection_reset", ""
}
