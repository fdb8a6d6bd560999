// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Trouble that comes and goes is told once in a while, and trouble that stays is told in the end.
func TestTroubleThatComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newState("d", slog.New(slog.NewTextHandler(&out, nil)), NewMetrics(nil))
		for range 100 { // over five seconds
			s.fails(Retrying, errors.New("reset"))
			time.Sleep(25 * time.Millisecond)
			s.ok()
			time.Sleep(25 * time.Millisecond)
		}
		s.fails(Refusing, errors.New("denied"))
		if n := strings.Count(out.String(), "does not work"); n != 1 {
			t.Errorf("told %d times in five seconds", n)
		}
		time.Sleep(quietTime)
		s.fails(Refusing, errors.New("denied"))
		s.fails(Refusing, errors.New("denied"))
		s.ok()
		want := []string{"error=reset", "was=retrying", "state=refusing error=denied more=99", "was=refusing for=10s"}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out.String())
		}
		for i, text := range want {
			if !strings.Contains(lines[i], text) {
				t.Errorf("line %q does not have %q", lines[i], text)
			}
		}
	})
}
