// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of the JetStream API that mean "there is no room".
const (
	codeNoResources   jetstream.ErrorCode = 10023 // the server's storage limit
	codeNoStorage     jetstream.ErrorCode = 10047 // the account's storage limit
	codeStoreFailed   jetstream.ErrorCode = 10077 // the stream's limit, when it discards new messages
	codeAccountLimits jetstream.ErrorCode = 10002
)

// codeHeaderTooLarge means that the headers of a message are longer than a stream can note down, 64 KiB.
const codeHeaderTooLarge jetstream.ErrorCode = 10097

// codeWrongSequence is JSErrCodeStreamWrongLastSequence of a replicated stream.
const codeWrongSequence jetstream.ErrorCode = 10164

// classify gives an error of the JetStream API the meaning that callers branch on.
func classify(api *jetstream.APIError) error {
	switch api.ErrorCode {
	case codeNoResources, codeNoStorage, codeStoreFailed, codeAccountLimits:
		return fmt.Errorf("%w: %s", ErrFull, api.Description)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderTooLarge:
		return fmt.Errorf("%w: %s", ErrTooLarge, api.Description)
	case jetstream.JSErrCodeStreamWrongLastSequence, codeWrongSequence:
		return fmt.Errorf("%w: %s", ErrConflict, api.Description)
	}
	if !passing(api) {
		return fmt.Errorf("%w: %w", ErrRefused, api)
	}
	return api
}

// passing tells whether the same request may succeed later without anyone's doing.
func passing(api *jetstream.APIError) bool { return api.Code >= 500 }

// errorReason names err in a metric.
func errorReason(err error) string {
	for reason, target := range map[string]error{
		"full": ErrFull, "no_stream": ErrNoStream, "too_large": ErrTooLarge, "closed": ErrClosed,
	} {
		if errors.Is(err, target) {
			return reason
		}
	}
	return "other"
}

// backoff returns first doubled by the number of attempts so far, at most last, less up to a quarter so that many do not
// come back together.
func backoff(attempts int, first, last time.Duration) time.Duration {
	delay := last
	if attempts < 32 && first<<max(attempts, 0) < last {
		delay = first << max(attempts, 0)
	}
	return delay - rand.N(delay/4+1)
}
