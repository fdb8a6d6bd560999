// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"errors"
	"testing"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

func TestBlame(t *testing.T) {
	t.Parallel()
	cause := errors.New("INTERNAL: cannot unmarshal")
	for _, c := range []struct {
		what   string
		signal subject.Signal
		body   string
		err    error
		want   otlp.Class
	}{
		{"sound", subject.Traces, "", cause, otlp.Unavailable},
		{"garbage of a back end that fails", subject.Traces, "garbage", cause, otlp.Invalid},
		{"garbage of another signal", subject.Logs, "garbage", cause, otlp.Invalid},
		{"garbage and a wrong password", subject.Metrics, "garbage", &otlp.Error{Class: otlp.Refused, Err: cause}, otlp.Refused},
		{"garbage and no time", subject.Metrics, "garbage", &otlp.Error{Class: otlp.Throttled, Err: cause}, otlp.Throttled},
	} {
		e := otlp.AsError(otlp.Blame(otlp.Request{Signal: c.signal, Body: []byte(c.body)}, c.err))
		if e.Class != c.want || !errors.Is(e, cause) {
			t.Errorf("%s: %v: %v", c.what, e.Class, e)
		}
	}
}
