// SPDX-License-Identifier: Apache-2.0

package origin_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/origin"
)

func see(l *origin.Ledger, sequences ...uint64) (missing uint64) {
	for _, s := range sequences {
		missing += l.See(&eventv1.Origin{Node: "n", Run: "r", Sequence: s})
	}
	return missing
}

// sequence returns the numbers from first to last without those to leave out.
func sequence(first, last uint64, without ...uint64) (out []uint64) {
	for s := first; s <= last; s++ {
		out = append(out, s)
		for _, w := range without {
			if w == s {
				out = out[:len(out)-1]
			}
		}
	}
	return out
}

func TestGaps(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		sequences []uint64
		want      uint64
	}{
		{"none", sequence(1, 500), 0},
		{"begun in the middle", sequence(400, 900), 0},
		{"three", sequence(1, 500, 7, 100, 101), 3},
		{"not yet certain", sequence(1, 110, 100), 0},
		{"late", append(append(sequence(1, 110, 100), 100), sequence(111, 500)...), 0},
		{"too late", append(append(sequence(1, 300, 100), 100), sequence(301, 500)...), 1},
		{"again", append(sequence(1, 200, 50), sequence(1, 500, 50)...), 1},
		{"leap", append(sequence(1, 100), sequence(1101, 1300)...), 1000},
		{"leap of a window", append(sequence(1, 100), sequence(165, 300)...), 64},
		{"leap that nobody believes", append(sequence(1, 100), 1<<63, 1<<63+1), 0},
		{"zero", []uint64{0, 0, 5, 0}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := see(origin.NewLedger(), tc.sequences...); got != tc.want {
				t.Errorf("%d missing, want %d", got, tc.want)
			}
		})
	}
}

func TestShuffledWithinWindow(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	all := sequence(1, 2000, 11, 500, 501, 1500)
	for at := 40; at+40 < len(all); at += 40 {
		part := all[at : at+40]
		rnd.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	if got := see(origin.NewLedger(), all...); got != 4 {
		t.Errorf("%d missing, want 4", got)
	}
}

func TestANewRunBeginsANewSeries(t *testing.T) {
	t.Parallel()
	l := origin.NewLedger()
	see(l, sequence(1, 100)...)
	if got := l.See(&eventv1.Origin{Node: "n", Run: "s", Sequence: 900}); got != 0 {
		t.Errorf("%d missing", got)
	}
}

func TestNothingIsCountedWhileOthersRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := origin.NewLedger()
		see(l, sequence(1, 100)...)
		l.Shared()
		if got := see(l, 110, 300, 900); got != 0 {
			t.Errorf("%d missing", got)
		}
		time.Sleep(time.Minute)
		if got := see(l, sequence(1000, 1200, 1100)...); got != 1 {
			t.Errorf("alone again: %d missing, want 1", got)
		}
	})
}

func TestDropped(t *testing.T) {
	t.Parallel()
	l := origin.NewLedger()
	for _, n := range []uint64{3, 7, 5} {
		l.See(&eventv1.Origin{Node: "n\xff", Run: "r", Sequence: n, Dropped: map[string]uint64{"ring": n}})
	}
	got := map[string]uint64{}
	l.EachDropped(func(node, reason string, count uint64) { got[node+"/"+reason] = count })
	if d := cmp.Diff(map[string]uint64{"n_/ring": 7}, got); d != "" {
		t.Errorf("dropped (-want +got):\n%s", d)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := origin.NewLedger()
	reasons := map[string]uint64{}
	for i := range 100 {
		reasons[fmt.Sprint(i)] = 1
	}
	for i := range 5000 {
		l.See(&eventv1.Origin{Node: fmt.Sprint(i), Run: "r", Sequence: 1, Dropped: reasons})
	}
	counts := 0
	l.EachDropped(func(string, string, uint64) { counts++ })
	if l.Nodes() != 4096 || counts != 16*4096 {
		t.Errorf("%d nodes, %d counts", l.Nodes(), counts)
	}
}
