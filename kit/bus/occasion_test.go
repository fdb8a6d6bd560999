// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A permission that is missing befalls every message, and the server tells of each.
func TestTroublesOfTheServerDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &Bus{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 1000 {
			b.onError(nil, nil, errors.New("permissions violation"))
		}
		time.Sleep(quietTime)
		b.onError(nil, nil, errors.New("permissions violation"))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "more=999") {
			t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
		}
	})
}
