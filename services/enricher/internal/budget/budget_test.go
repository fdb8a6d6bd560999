// SPDX-License-Identifier: Apache-2.0

package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/busbar/busbar/services/enricher/internal/budget"
)

func TestAdmit(t *testing.T) {
	t.Parallel()
	const limit = 10
	b := budget.New(nil)
	admit := func(service string, series uint64, proven bool) bool {
		return b.Of(service).Admit(series, proven, limit)
	}
	for i := range uint64(20) {
		if got, want := admit("shop", i, false), i < limit/2; got != want {
			t.Errorf("unproven series %d is admitted: %v", i, got)
		}
	}
	for i := range uint64(20) {
		if got, want := admit("shop", 100+i, true), i < limit/2; got != want {
			t.Errorf("proven series %d is admitted: %v", i, got)
		}
	}
	for i := range uint64(5) {
		if !admit("shop", i, false) || !admit("shop", 100+i, true) || !admit("shop", 100+i, false) {
			t.Errorf("series %d has lost its place", i)
		}
	}
	if !admit("shop", 3, true) || !admit("shop", 3, false) {
		t.Error("a series that succeeds at last has lost its place")
	}
	if !admit("cart", 1, true) {
		t.Error("services share a budget")
	}
}

// What comes in every window keeps its place through any number of them, under any flood; what does not makes room.
func TestWindows(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	b := budget.New(func() time.Time { return now })
	const limit = 10
	flood, newcomer := uint64(1000), false
	for window := range 50 {
		for i := range uint64(4) {
			if !b.Of("shop").Admit(i, true, limit) {
				t.Fatalf("window %d: series %d has lost its place", window, i)
			}
		}
		admitted := 0
		for range 100 {
			flood++
			if b.Of("shop").Admit(flood, flood%2 == 0, limit) {
				admitted++
			}
		}
		if admitted > limit-4 {
			t.Fatalf("window %d: %d of the flood are admitted", window, admitted)
		}
		newcomer = newcomer || window > 0 && admitted > 0
		now = now.Add(5 * time.Minute)
	}
	if !newcomer {
		t.Error("what did not come again has kept its place for ever")
	}
}

func TestManyServices(t *testing.T) {
	t.Parallel()
	b := budget.New(nil)
	for i := range 10_000 {
		if !b.Of(fmt.Sprint("service ", i)).Admit(1, false, 10) {
			t.Fatalf("service %d has no budget", i)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	account := budget.New(nil).Of("eu/shop")
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		account.Admit(i%500, true, 2000)
	}
}
