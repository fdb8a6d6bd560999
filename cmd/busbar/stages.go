// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/busbar/busbar/kit/run"
)

// stage is one service of the all-in-one.
type stage struct {
	name string
	run  func(ctx context.Context) error
}

// patience is how long a stage may take to end before the next one is asked to.
const patience = 2 * time.Second

// runStages runs stages until ctx ends or one of them returns, which none should: then all end. They end one after another,
// in the order given, so that what one hands on while it drains still finds the next one.
func runStages(ctx context.Context, stages []stage) error {
	var (
		group run.Group
		ends  []func() // each ends a stage and waits for it, within patience
	)
	for _, s := range stages {
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		ended := make(chan struct{})
		group.Add(s.name, func(ctx context.Context) error {
			defer close(ended)
			err := s.run(own)
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended without being asked to")
			}
			return err
		})
		ends = append(ends, func() {
			end()
			select {
			case <-ended:
			case <-time.After(patience):
			}
		})
	}
	group.Add("shutdown", func(ctx context.Context) error {
		<-ctx.Done()
		for _, end := range ends {
			end()
		}
		return nil
	})
	return group.Run(ctx)
}
