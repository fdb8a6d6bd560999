// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trace records the order in which stages end.
type trace struct {
	mu    sync.Mutex
	ended []string
}

func (tr *trace) stage(name string, drain time.Duration) stage {
	return stage{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(drain) // in a bubble
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.ended = append(tr.ended, name)
		return nil
	}}
}

func TestStagesEndInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var tr trace
		time.AfterFunc(time.Minute, cancel)
		err := runStages(ctx, []stage{tr.stage("probe", time.Second), tr.stage("router", time.Second), tr.stage("exporter", 0)})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"probe", "router", "exporter"}, tr.ended); d != "" {
			t.Errorf("order (-want +got):\n%s", d)
		}
	})
}

func TestStageThatHangsDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var tr trace
		if err := runStages(ctx, []stage{tr.stage("probe", time.Hour), tr.stage("router", 0)}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(tr.ended, []string{"router", "probe"}) {
			t.Errorf("order %v", tr.ended)
		}
	})
}

func TestFailedStageEndsTheOthers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"error", errors.New("no such device"), "enricher: no such device"},
		{"nothing", nil, "enricher: ended without being asked to"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var tr trace
			failing := stage{"enricher", func(context.Context) error { return tc.err }}
			err := runStages(t.Context(), []stage{tr.stage("probe", 0), failing, tr.stage("exporter", 0)})
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if !slices.Equal(tr.ended, []string{"probe", "exporter"}) {
				t.Errorf("ended %v", tr.ended)
			}
		})
	}
}
