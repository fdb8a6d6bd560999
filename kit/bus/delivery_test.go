// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func delivery(encoding string, data []byte) *Delivery {
	return newDelivery(&nats.Msg{Subject: "s.a", Header: nats.Header{HeaderEncoding: {encoding}}, Data: data})
}

func TestDataDecodes(t *testing.T) {
	t.Parallel()
	plain := []byte(strings.Repeat("busbar ", 1000))
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		EncodingIdentity: plain,
		EncodingS2:       s2.Encode(nil, plain),
		EncodingZstd:     encoder.EncodeAll(plain, nil),
	}
	for encoding, data := range tests {
		got, err := delivery(encoding, data).Data()
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", encoding, len(got), err)
		}
	}
}

func TestDataRefusesBombs(t *testing.T) {
	t.Parallel()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, MaxDecoded+1)
	for encoding, data := range map[string][]byte{
		EncodingS2:   s2.Encode(nil, zeros),
		EncodingZstd: encoder.EncodeAll(zeros, nil),
		"gzip":       {},
	} {
		got, err := delivery(encoding, data).Data()
		if reason, ok := AsPermanent(err); !ok || reason != ReasonUndecodable || got != nil {
			t.Errorf("%s: %d bytes, %v", encoding, len(got), err)
		}
	}
}

// FuzzDelivery holds that any message gives bytes or a Permanent error, never both, never more than the cap, and that what
// a dead letter takes from it is fit for a header.
func FuzzDelivery(f *testing.F) {
	f.Add("s.a", "$JS.ACK.S.d.1.2.3.1700000000000000000.0", "s2", "12", s2.Encode(nil, []byte("hello")))
	f.Add("s.a", "$JS.ACK.hub.acc.S.d.1.2.3.1700000000000000000.0.x", "zstd", "-1", []byte("\x28\xb5\x2f\xfd"))
	f.Add("s.a", "", "", "99999999999999999999", []byte(nil))
	f.Fuzz(func(t *testing.T, subject, reply, encoding, items string, data []byte) {
		d := newDelivery(&nats.Msg{
			Subject: subject, Reply: reply, Data: data, Sub: &nats.Subscription{},
			Header: nats.Header{HeaderEncoding: {encoding}, HeaderItems: {items}},
		})
		got, err := d.Data()
		if err != nil && (got != nil || !IsPermanent(err)) || len(got) > max(MaxDecoded, len(data)) {
			t.Fatalf("%d bytes and %v", len(got), err)
		}
		if d.Items() < 1 || d.Attempt < 0 || d.DerivedID("x") == d.DerivedID("y") {
			t.Fatalf("%+v", d)
		}
		text := headerText(subject)
		if strings.ContainsAny(text, "\r\n\x00") || !utf8.ValidString(text) || len(text) > 3*maxDeadError {
			t.Fatalf("header %q", text)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 4: 10 * time.Second, 31: 10 * time.Second, 1 << 40: 10 * time.Second,
	} {
		if got := backoff(attempts, time.Second, 10*time.Second); got > want || got < want*3/4 {
			t.Errorf("after %d attempts %v, want %v less up to a quarter", attempts, got, want)
		}
	}
}

func TestParseAck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		want       error // nil: none; errAny: some
	}{
		{"stored", `{"stream":"S","seq":1}`, nil},
		{"stored before", `{"stream":"S","seq":1,"duplicate":true}`, nil},
		{"stream full", `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`, ErrFull},
		{"disk full", `{"error":{"code":500,"err_code":10047,"description":"insufficient storage"}}`, ErrFull},
		{"too large", `{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`, ErrTooLarge},
		{"other", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence"}}`, errAny},
		{"not an acknowledgement", `{}`, errAny},
		{"garbage", `garbage`, errAny},
	} {
		_, err := parseAck([]byte(tt.body))
		if (err == nil) != (tt.want == nil) || tt.want != nil && !errors.Is(tt.want, errAny) && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && passing(api) {
			t.Errorf("%s would be retried", tt.name)
		}
	}
}

var errAny = errors.New("any error")

func TestErrorsAreMarkedAndStillThemselves(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	if err := Permanent("why", cause); !errors.Is(err, cause) || !IsPermanent(err) || IsPermanent(cause) || err.Error() != "cause" {
		t.Errorf("got %v", err)
	}
	err := Throttled(time.Second, cause)
	if delay, ok := AsThrottled(err); !ok || delay != time.Second || !errors.Is(err, cause) {
		t.Errorf("got %v, %v", delay, ok)
	}
	for _, err := range []error{Permanent("why", nil), Throttled(0, nil)} {
		if err == nil || err.Error() == "" {
			t.Errorf("got %v", err)
		}
	}
}

// FuzzParseAck holds that any answer to a publication is a stream's or an error, never both.
func FuzzParseAck(f *testing.F) {
	f.Add([]byte(`{"stream":"S","seq":1,"duplicate":true}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAck(b)
		if (err == nil) != (a.Stream != "" && a.Error == nil) && json.Valid(b) {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// FuzzStatus holds that nothing a server says in place of messages has a puller ask for more than it has room for.
func FuzzStatus(f *testing.F) {
	f.Add("inbox.1", "409", "Consumer Deleted")
	f.Add("inbox.1", "100", "")
	f.Add("s.a", "", "")
	f.Fuzz(func(t *testing.T, subject, code, text string) {
		p := puller{inbox: "inbox.", batch: 16, number: 1, open: 8}
		was := p.status(&nats.Msg{Subject: subject, Header: nats.Header{"Status": {code}, "Description": {text}}})
		if was != strings.HasPrefix(subject, "inbox.") || p.open > 8 || p.open < 0 {
			t.Errorf("status %v, %+v", was, p)
		}
	})
}
