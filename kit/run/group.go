// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Group runs parts that need each other: when one returns, for whatever reason, the context of all ends. The zero value
// is ready to use.
type Group struct {
	parts []part
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// Add adds a part, which must return soon after its context ends. The name goes into its error.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// Run starts all parts and returns after every one has returned. The result is nil if none failed; else their errors,
// first the one that came first, without those that only tell that the context has ended. A panic counts as an error.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, p := range g.parts {
		wait.Go(func() {
			defer cancel()
			if err := p.guarded(ctx); err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (p part) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.run(ctx)
}
