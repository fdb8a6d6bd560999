// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/http"
	"testing"
	"unicode/utf8"
)

// FuzzHTTPError holds that any answer of a back end has a class, that only bad data is given up, with a reason fit for a subject, and
// that nobody can ask for more patience than there is.
func FuzzHTTPError(f *testing.F) {
	f.Add(429, "120", "Wed, 21 Oct 2026 07:28:00 GMT", "slow down")
	f.Add(503, "Wed, 21 Oct 2026 07:30:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", "")
	f.Add(400, "", "", "\xff\x00")
	f.Add(-1, "-99999999999", "x", "")
	f.Fuzz(func(t *testing.T, code int, after, date, detail string) {
		e := HTTPError(code, http.Header{"Retry-After": {after}, "Date": {date}}, clip(detail))
		if e.After < 0 || e.After > maxThrottle || (e.Class == Invalid) != (e.Reason != "") || !utf8.ValidString(e.Error()) {
			t.Errorf("%d, %q: %+v", code, after, e)
		}
		if e.Class == Invalid && code != 400 && code != 413 && code != 422 {
			t.Errorf("%d is taken for bad data", code)
		}
	})
}
