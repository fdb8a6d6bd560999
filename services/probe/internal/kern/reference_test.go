// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ordinary are the heads about which everybody agrees; of others servers differ.
var (
	ordinaryRequest  = regexp.MustCompile(`^[A-Z-]{1,23} [^ \n]+ HTTP/1\.[01]\r?\n`)
	ordinaryResponse = regexp.MustCompile(`^HTTP/1\.[01] [1-9][0-9][0-9][ \r\n]`)
	disputed         = regexp.MustCompile(`(?i)\n[ \t]|\ncontent-length:[ \t]*([^ \t0-9]|[ \t]{5}|[0-9]{18})|HTTP/1\.0(.|\n)*\ntransfer-encoding|\ncontent-length(.|\n)*\ncontent-length|\ntransfer-encoding:[ \t]{5}`)
)

// text is what one side says, as net/http reads it.
type text struct {
	all  []byte
	left *bytes.Reader
	*bufio.Reader
}

func newText(all []byte) *text {
	left := bytes.NewReader(all)
	return &text{all, left, bufio.NewReader(left)}
}

func (t *text) at() int { return len(t.all) - t.left.Len() - t.Buffered() }

// ordinary tells whether what comes next has a head like `first`.
func (t *text) ordinary(first *regexp.Regexp) bool {
	rest := t.all[t.at():]
	end := regexp.MustCompile(`\n\r?\n`).FindIndex(rest)
	return end != nil && first.Match(rest) && !disputed.Match(rest[:end[1]])
}

// reference returns the exchanges that net/http finds, up to the first that is not ordinary or not complete.
func reference(said, answered []byte) (all []wanted) {
	requests, responses := newText(said), newText(answered)
	for requests.ordinary(ordinaryRequest) {
		w := wanted{Flags: Keyed}
		begin := requests.at()
		req, err := http.ReadRequest(requests.Reader)
		if err != nil {
			break
		}
		w.RequestHead = uint32(requests.at() - begin) //nolint:gosec // Short.
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			break
		}
		w.RequestBytes = uint64(requests.at() - begin) //nolint:gosec // Short.
		if !readResponse(responses, req, &w) {
			break
		}
		all = append(all, w)
	}
	return all
}

func readResponse(responses *text, req *http.Request, w *wanted) bool {
	for responses.ordinary(ordinaryResponse) {
		begin := responses.at()
		res, err := http.ReadResponse(responses.Reader, req)
		if err != nil || res.StatusCode == http.StatusSwitchingProtocols || req.Method == http.MethodConnect {
			return false
		}
		w.ResponseHead = uint32(responses.at() - begin) //nolint:gosec // Short.
		_, err = io.Copy(io.Discard, res.Body)
		if err != nil {
			return false
		}
		if res.StatusCode < 200 {
			continue
		}
		w.ResponseBytes = uint64(responses.at() - begin) //nolint:gosec // Short.
		w.Status = uint16(res.StatusCode)                //nolint:gosec // Three digits.
		if res.ContentLength < 0 && len(res.TransferEncoding) == 0 && res.Body != http.NoBody {
			w.Flags |= UntilClose
		}
		return true
	}
	return false
}

// FuzzMessages lets both sides say anything, and holds what is told against net/http: what that takes for exchanges must be told, and told
// right. Whatever else is told of must have been said.
func FuzzMessages(f *testing.F) {
	for _, v := range conversations() {
		var said [2][]byte
		for _, s := range v.talk {
			side := map[bool]int{true: 1}[s.server]
			said[side] = append(said[side], s.text...)
		}
		if len(said[0])+len(said[1]) < 10_000 {
			f.Add(said[0], said[1], uint16(0))
			f.Add(said[0], said[1], uint16(len(said[0])/2)) //nolint:gosec // Short.
		}
	}
	tiers := watchers(f)
	f.Fuzz(func(t *testing.T, requests, responses []byte, cut uint16) {
		if len(requests)+len(responses) > 1<<16 {
			t.Skip("too much for the buffer of a socket")
		}
		var talk []said
		for side, text := range []string{string(requests), string(responses)} {
			at := int(cut) % (len(text) + 1)
			talk = append(talk, said{server: side == 1, text: text[:at], by: 1 + int(cut)%700}, said{server: side == 1, text: text[at:]})
		}
		all := reference(requests, responses)
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		conversation{talk: talk, end: serverCloses}.hold(t, client, server)
		for _, w := range tiers {
			defer w.forget()
			for _, role := range []Role{Client, Server} {
				got := w.read(t, role, overTCP(client, server), len(all))
				checkSaid(t, got, requests)
				if diff := cmp.Diff(all, plain(got[:min(len(got), len(all))])); diff != "" {
					t.Fatalf("%s, role %d: -want +got\n%s", w.kern.Tier(), role, diff)
				}
			}
		}
	})
}

// checkSaid checks that each request was said where it is told to be, and none in another.
func checkSaid(t *testing.T, got []seen, requests []byte) {
	t.Helper()
	upto := uint32(0)
	for _, e := range got {
		at := e.RequestSeq - e.OpenerISN - 1
		if at < upto || uint64(at)+e.RequestBytes > uint64(len(requests)) || !bytes.HasPrefix(requests[at:], []byte(e.request)) {
			t.Fatalf("at %d of %d, %d bytes: %q", at, len(requests), e.RequestBytes, e.request)
		}
		upto = at + uint32(e.RequestBytes) //nolint:gosec // Short.
	}
}

// plain is wantedOf of what the reference knows.
func plain(got []seen) (all []wanted) {
	for _, w := range wantedOf(got, nil) {
		w.Request, w.Response = "", ""
		w.Flags &^= Pipelined | RequestCut | ResponseCut
		all = append(all, w)
	}
	return all
}
