// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"log/slog"
	"sync"
	"time"
)

const quietTime = 10 * time.Second // between two log lines about the same trouble

// occasion logs trouble that may befall every message, once in a while.
type occasion struct {
	mu      sync.Mutex
	next    time.Time
	skipped int
}

// warn logs the message unless it was logged a short while ago; then it tells next time how many were left out.
func (o *occasion) warn(log *slog.Logger, message string, attributes ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Before(o.next) {
		o.skipped++
		return
	} else if o.next = now.Add(quietTime); o.skipped > 0 {
		attributes = append(attributes, "more", o.skipped)
		o.skipped = 0
	}
	log.Warn(message, attributes...) //nolint:sloglint // callers give constants
}
