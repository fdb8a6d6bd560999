// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// script writes conversations that a seed decides on, and knows what is to be told of each.
type script struct{ *rand.Rand }

// message is a request or a response, head and body.
type message struct{ head, body string }

func (m message) text() string { return m.head + m.body }

// wanted is what both halves of an exchange of a script must say.
type wanted struct {
	Request, Response           string // as captured
	RequestHead, ResponseHead   uint32
	RequestBytes, ResponseBytes uint64
	Status                      uint16
	Flags                       Flags
	Trace                       string // given by a header
}

func taken(head string, limit int) (string, bool) {
	return head[:min(len(head), limit)], len(head) > limit
}

// want makes what is to be told of a complete exchange.
func want(request, response message, status uint16, flags Flags) wanted {
	w := wanted{
		RequestHead: uint32(len(request.head)), ResponseHead: uint32(len(response.head)), //nolint:gosec // Short.
		RequestBytes: uint64(len(request.text())), ResponseBytes: uint64(len(response.text())), Status: status, Flags: flags | Keyed,
	}
	var cut bool
	if w.Request, cut = taken(request.head, maxRequestWindow); cut {
		w.Flags |= RequestCut
	}
	return w
}

func (s script) one(of ...string) string { return of[s.IntN(len(of))] }
func (s script) chance(in int) bool      { return s.IntN(in) == 0 }

// size is most often small, now and then so large that it takes several pieces.
func (s script) size() int {
	return s.IntN([]int{2, 20, 200, 2000, 20_000}[s.IntN(5)])
}

// letters are those of a path, or of a value.
func (s script) letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz0123456789-_./?&=%"[s.IntN(44)]
	}
	return string(b)
}

// bytes are anything, and what looks like a message, as long as asked for.
func (s script) bytes(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(s.one("GET /trap HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "0\r\n\r\n", "\r\n", "\n", "\x00", s.letters(30)))
	}
	return b.String()[:n]
}

// mixed writes a name in any case.
func (s script) mixed(name string) string {
	return s.one(name, strings.ToLower(name), strings.ToUpper(name))
}

func (s script) header(name, value string) string {
	return s.mixed(name) + ":" + s.one("", " ", "  ", "\t") + value + s.one("", "", " ", "\t ")
}

// noise are headers that mean nothing here, some of which begin like those that do.
func (s script) noise() []string {
	var lines []string
	for range s.IntN(6) {
		lines = append(lines, s.one(
			s.header("Host", "x"), s.header("X-"+s.one("A", "B"), s.letters(s.IntN(300))), s.header("Content-Type", "text/plain; Content-Length: 7"),
			s.header("Content-Lengthy", "7"), s.header("X-Content-Length", "9"), s.header("Transfer-Encodings", "chunked"), s.header("TE", "chunked"),
			s.header("Traceparents", "00"), s.header("Tracestate", "a=b"), s.header("Cookie", s.letters(s.size())), s.header("A", ""),
		))
	}
	return lines
}

// body frames a body and returns it with the header lines that say so.
func (s script) body() (lines []string, body string) {
	if s.chance(2) {
		body = s.bytes(s.size())
		zeros := s.one("", "", "", "00")
		return []string{s.header("Content-Length", fmt.Sprintf("%s%d", zeros, len(body)))}, body
	}
	var b strings.Builder
	for range s.IntN(8) {
		data := s.bytes(1 + s.size())
		fmt.Fprintf(&b, s.one("%x", "%X", "00%x")+"%s\r\n%s\r\n", len(data), s.one("", "", ";a=b", " ;c=\""+s.letters(s.IntN(100))+"\""), data)
	}
	b.WriteString(s.one("0\r\n\r\n", "000\r\n\r\n", "0;a\r\nTrailer: x\r\n\r\n", "0\r\nContent-Length: 5\r\nX: "+s.letters(s.size())+"\r\n\r\n"))
	return []string{s.header("Transfer-Encoding", s.one("chunked", "Chunked", "gzip, chunked"))}, b.String()
}

// assemble makes a message of its first line and its header lines, in any order.
func (s script) assemble(first string, lines []string, body string) message {
	s.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	end := s.one("\r\n", "\r\n", "\r\n", "\n")
	return message{strings.Join(append([]string{first}, lines...), end) + end + end, body}
}

// request returns a request, its method, and the trace id that it names.
func (s script) request() (m message, method, trace string) {
	method = s.one("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "M-SEARCH", "x")
	lines, body := s.noise(), ""
	if s.chance(2) {
		var framing []string
		framing, body = s.body()
		lines = append(lines, framing...)
	}
	if s.chance(3) {
		id := make([]byte, 24)
		for i := range id {
			id[i] = byte(1 + s.IntN(255))
		}
		trace = hex.EncodeToString(id[:16])
		lines = append(lines, s.header("traceparent", fmt.Sprintf("00-%s-%x-0%d", trace, id[16:], s.IntN(2))))
	}
	return s.assemble(method+" /"+s.letters(s.size())+" HTTP/1."+s.one("0", "1"), lines, body), method, trace
}

// response returns a response to a method, its status, and whether it ends with the connection. What is said before it is
// no part of it.
func (s script) response(method string, last bool) (before string, m message, status uint16, untilClose bool) {
	for s.chance(5) {
		before += s.assemble("HTTP/1.1 "+s.one("100 Continue", "102 Processing", "103 Early Hints"), s.noise(), "").head
	}
	status = []uint16{200, 200, 201, 204, 301, 304, 404, 500, 599}[s.IntN(9)]
	lines := s.noise()
	framing, body := s.body()
	switch {
	case method == "HEAD" || status == 204 || status == 304:
		body = ""
		if s.chance(2) {
			lines = append(lines, framing...)
		}
	case last && s.chance(3):
		untilClose, body = true, s.bytes(s.size())
	default:
		lines = append(lines, framing...)
	}
	first := fmt.Sprintf("HTTP/1.%d %d%s", s.IntN(2), status, s.one(" OK", " ", "", " Not What You Think"))
	return before, s.assemble(first, lines, body), status, untilClose
}

// piece is how much of n bytes is said next, with a limit of its own for each side, and in what pieces it is read.
func (s script) piece(n, most, said int) (length, by int) {
	if said < 300 { // single bytes of a long text would take for ever
		n = min(n, 1+s.IntN(most))
	}
	if s.chance(3) {
		by = 1 + n/(1+s.IntN(20))
	}
	return n, by
}

func (s script) most() int { return []int{1, 7, 100, 600, 5000, 100_000}[s.IntN(6)] }

// pieces cuts a text into writes, each read in pieces of some size.
func (s script) pieces(text string, server bool) (talk []said) {
	for most := s.most(); len(text) > 0; {
		n, by := s.piece(len(text), most, len(talk))
		talk = append(talk, said{server: server, text: text[:n], by: by})
		text = text[n:]
	}
	return talk
}

// place is where an exchange is in what both sides say. It may be answered once its head is there, or all of it.
type place struct{ begin, answerable, answered int }

// converse has one side ask and the other answer, in turns that overlap, and tells which exchanges were not answered when the next was
// asked for.
func (s script) converse(requests, responses string, places []place) (talk []said, ahead []bool) {
	ahead = make([]bool, len(places))
	atOnce, mostAsked, mostAnswered := s.chance(2), s.most(), s.most()
	for at, answered := 0, 0; at < len(requests) || answered < len(responses); {
		may := 0
		for _, p := range places {
			if p.answerable <= at {
				may = p.answered
			}
		}
		if at == len(requests) || may > answered && !atOnce && s.chance(2) {
			n, by := s.piece(may-answered, mostAnswered, len(talk))
			talk = append(talk, said{server: true, text: responses[answered : answered+n], by: by})
			answered += n
			continue
		}
		n, by := s.piece(len(requests)-at, mostAsked, len(talk))
		for i := range places[:len(places)-1] {
			next := places[i+1].begin
			ahead[i] = ahead[i] || at <= next && next < at+n && answered < places[i].answered
		}
		talk = append(talk, said{text: requests[at : at+n], by: by})
		at += n
	}
	return talk, ahead
}

// conversation returns what is said, in which order, and what is to be told of it.
func (s script) conversation() (conversation, []wanted) {
	var v conversation
	var all []wanted
	v.end = s.IntN(2) // clientCloses, serverCloses
	for rounds := 1 + s.IntN(4); rounds > 0; rounds-- {
		depth := 1
		if s.chance(3) {
			depth = 1 + s.IntN(6)
		}
		var requests, responses string
		var places []place
		for i := range depth {
			request, method, trace := s.request()
			before, response, status, untilClose := s.response(method, i == depth-1 && rounds == 1 && v.end == serverCloses)
			var flags Flags
			if untilClose {
				flags |= UntilClose
			}
			requests += s.one("", "", "", "\r\n")
			at := place{begin: len(requests), answerable: len(requests) + len(request.head)}
			requests += request.text()
			responses += before + response.text()
			at.answered = len(responses)
			if untilClose {
				at.answerable = len(requests)
			}
			w := want(request, response, status, flags)
			w.Trace = trace
			all, places = append(all, w), append(places, at)
		}
		talk, ahead := s.converse(requests, responses, places)
		for i, yes := range ahead {
			if yes {
				all[len(all)-depth+i].Flags |= Pipelined
			}
		}
		v.talk = append(v.talk, talk...)
	}
	return v, all
}

// records cuts a text into records of FastCGI, and ends it by an empty one.
func (s script) records(kind byte, text string) string {
	most := 1 + s.size()
	var b strings.Builder
	for len(text) > 0 {
		n := min(len(text), 1+s.IntN(most), 65535)
		if b.Len() > 1<<14 { // so many records in one read are not followed
			n = min(len(text), 65535)
		}
		b.WriteString(fcgi(kind, 1, text[:n], s.IntN(256)))
		text = text[n:]
	}
	return b.String() + fcgi(kind, 1, "", s.IntN(8))
}

// fastCGI returns a conversation of FastCGI.
func (s script) fastCGI() (conversation, []fcgiTold) {
	v := conversation{end: s.IntN(2)}
	var all []fcgiTold
	for range 1 + s.IntN(4) {
		path, stdin := "/"+s.letters(s.IntN(400)), s.bytes(s.size())
		request := fcgi(1, 1, fcgiBegin, s.IntN(8)) + s.records(4, fcgiParams(path, len(stdin), "A", s.letters(s.IntN(3000)))) + s.records(5, stdin)
		stdout := "Status: 404\r\n\r\n" + s.bytes(s.size())
		response := s.records(6, stdout) + fcgi(3, 1, fcgiEnd, s.IntN(8))
		if s.chance(2) {
			response = fcgi(7, 1, "a warning", s.IntN(8)) + response
		}
		var flags Flags
		if len(path) > 255 {
			flags = RequestCut
		}
		all = append(all, fcgiSent(request, path, response, stdout[:min(len(stdout), maxResponseWindow)], flags))
		v.talk = append(append(v.talk, s.pieces(request, false)...), s.pieces(response, true)...)
	}
	return v, all
}
