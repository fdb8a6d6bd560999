// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// FuzzParseRejected holds that any answer is read or refused, and that what is read can be logged.
func FuzzParseRejected(f *testing.F) {
	r := ptraceotlp.NewExportResponse()
	r.PartialSuccess().SetRejectedSpans(7)
	r.PartialSuccess().SetErrorMessage("no")
	b, err := r.MarshalProto()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"partialSuccess":{"rejectedSpans":"7"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (Rejected, error){parseRejected, parseRejectedJSON} {
			r, err := parse(b)
			if r.Records < 0 || !utf8.ValidString(r.Message) || utf8.RuneCountInString(r.Message) > maxDetail+1 {
				t.Errorf("%+v, %v", r, err)
			}
		}
		_ = parseStatusMessage(b)
	})
}
