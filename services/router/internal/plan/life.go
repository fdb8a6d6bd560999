// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/collector"
)

// life is when the hosted processors of a plan are at work: from Start until the plan is retired and nobody uses it any more.
type life struct {
	hosted components
	users  atomic.Int64 // and one more until it is retired
}

// endTimeout bounds how long processors may take to end.
const endTimeout = 5 * time.Second

// Start makes the plan ready for use. Retire must follow, unless there is an error.
func (l *life) Start(ctx context.Context) error {
	for i, p := range l.hosted {
		if err := p.Start(ctx); err != nil {
			return errors.Join(fmt.Errorf("start processor: %w", err), l.hosted[:i].Shutdown())
		}
	}
	l.users.Store(1)
	return nil
}

// Enter begins a use of the plan, which ends with Leave. It returns false if the plan is not to be used any more.
func (l *life) Enter() bool {
	for {
		n := l.users.Load()
		if n == 0 {
			return false
		}
		if l.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave ends a use. The last one ends the processors, if the plan was retired.
func (l *life) Leave() error {
	if l.users.Add(-1) > 0 {
		return nil
	}
	return l.hosted.Shutdown()
}

// Retire has the plan end when its last use does.
func (l *life) Retire() error { return l.Leave() }

type components []*collector.Processor

// Shutdown ends them all.
func (hosted components) Shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	var errs []error
	for _, p := range hosted {
		errs = append(errs, p.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
