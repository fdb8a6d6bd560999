// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/busbar/busbar/kit/run"
)

func TestGroup(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	until := func(result func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error { <-ctx.Done(); return result(ctx) }
	}
	tests := []struct {
		name  string
		first func(context.Context) error // returns by itself
		rest  func(context.Context) error // returns when told to
		want  string                      // beginning of the error
	}{
		{"first returns nil", func(context.Context) error { return nil }, until(func(context.Context) error { return nil }), ""},
		{"first fails", func(context.Context) error { return cause }, until(context.Context.Err), "first: cause"},
		{"all fail", func(context.Context) error { return cause }, until(func(context.Context) error { return cause }), "first: cause\nrest: cause"},
		{"rest tells of the end", func(context.Context) error { return nil }, until(func(ctx context.Context) error { return fmt.Errorf("stopped: %w", ctx.Err()) }), ""},
		{"panic", func(context.Context) error { panic("boom") }, until(context.Context.Err), "first: panic: boom\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var g run.Group
			g.Add("first", tt.first)
			g.Add("rest", tt.rest)
			err := g.Run(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGroupEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var g run.Group
	running := make(chan struct{})
	g.Add("part", func(ctx context.Context) error { close(running); <-ctx.Done(); return ctx.Err() })
	go func() { <-running; cancel() }()
	if err := g.Run(ctx); err != nil {
		t.Error(err)
	}
}
