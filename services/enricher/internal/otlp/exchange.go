// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// Reasons for which an exchange is left out.
const (
	LossProcess  = "process"  // it refers to a process that its batch does not have
	LossAddress  = "address"  // the same of an address, or the address is none
	LossRole     = "role"     // neither server nor client
	LossTime     = "time"     // it began at no time that can be written down
	LossProtocol = "protocol" // a protocol of which this version knows nothing
	LossIgnored  = "ignored"  // RouteRules say so
	LossSampled  = "sampled"  // its pod asks for a share of spans only; metrics count it
	LossSDK      = "sdk"      // left to the telemetry SDK inside the process, which Instrumentation asks for
)

const (
	maxText     = 2048                  // bytes of any text of an exchange
	maxDuration = 365 * 24 * 3600 * 1e9 // nanoseconds; what lasts longer is a mistake
	maxStart    = 1<<63 - 1 - maxDuration
)

// exchange is an exchange, put in order: texts are valid and bounded, times follow one another.
type exchange struct {
	raw    *eventv1.Exchange
	secret *eventv1.Encrypted // a connection of which nothing but the outside is known; then all of HTTP is empty
	side   route.Side
	method string // as in http.request.method: known, or "_OTHER"
	other  string // the method as it was sent, if it is not known
	path   string
	host   string // name or address, and perhaps a port, as it was sent
	agent  string
	status uint32 // 100 to 999, or 0 for none
	chosen string // route, if the framework of the program was seen to choose it
	route  string
	state  string // tracestate of its span

	// The request arrived at start and was read from begin on; nanoseconds since the epoch.
	start, begin, end uint64
	local, peer       string   // IP addresses, or empty
	socket            string   // path of the unix socket, or empty
	called, asked     who.Host // what the client calls the server, and asked for when it began TLS, if that makes sense
	far               party    // who is at the other end; of a client at least a name
	server, client    string   // name of the server without a port, and on its side of the client; the address if there is none
	tls               bool

	requestBody, responseBody uint64
	hasRequest, hasResponse   bool // whether these are known
}

// read puts raw in order, or says why it cannot.
func (e *Encoder) read(raw *eventv1.Exchange, out *exchange) (loss string) {
	http, secret := raw.GetHttp(), raw.GetEncrypted()
	switch {
	case http == nil && secret == nil:
		return LossProtocol
	case raw.GetRole() != eventv1.Role_ROLE_SERVER && raw.GetRole() != eventv1.Role_ROLE_CLIENT:
		return LossRole
	case raw.GetStartUnixNano() == 0 || raw.GetStartUnixNano() > maxStart:
		return LossTime
	}
	*out = exchange{
		raw: raw, secret: secret, side: route.Server, socket: text(raw.GetUnixPath()),
		path: text(http.GetPath()), host: text(http.GetHost()), agent: text(http.GetUserAgent()), chosen: text(http.GetRoute()),
		begin: raw.GetStartUnixNano(), tls: raw.GetTlsLibrary() != eventv1.TlsLibrary_TLS_LIBRARY_UNSPECIFIED,
	}
	if !e.locate(out) {
		return LossAddress
	}
	if raw.GetRole() == eventv1.Role_ROLE_CLIENT {
		out.side = route.Client
	}
	if http.GetPathTruncated() { // the last segment is not what it seems
		out.path = out.path[:strings.LastIndexByte(out.path, '/')+1] + "*"
	}
	if s := http.GetStatus(); 100 <= s && s <= 999 {
		out.status = s
	}
	if http != nil {
		out.method, out.other = method(http.GetMethod())
	}
	out.start = out.begin
	if out.side == route.Server {
		out.start -= min(raw.GetWaitNano(), maxDuration, out.begin-1)
	}
	out.end = out.begin + min(max(raw.GetEndNano(), raw.GetRequestEndNano(), raw.GetResponseStartNano()), maxDuration)
	out.requestBody, out.hasRequest = body(raw.GetRequestBytes(), raw.GetRequestHeadBytes())
	out.responseBody, out.hasResponse = body(raw.GetResponseBytes(), raw.GetResponseHeadBytes())
	return ""
}

// locate finds the addresses of an exchange. A unix socket has none.
func (e *Encoder) locate(x *exchange) bool {
	if x.socket != "" {
		return true
	}
	local, peer := x.raw.GetLocalAddress(), x.raw.GetPeerAddress()
	if n := uint32(len(e.addresses)); local >= n || peer >= n { //nolint:gosec // bounded by the size of a message
		return false
	}
	x.local, x.peer = e.addresses[local], e.addresses[peer]
	return x.local != "" && x.peer != ""
}

// text makes s valid UTF-8 of bounded length.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "?")
}

// body is the size of a body: known once the end of the head was seen.
func body(total uint64, head uint32) (uint64, bool) {
	return min(total-min(total, uint64(head)), math.MaxInt64), head > 0
}

// otherMethod stands for every method that is not known.
const otherMethod = "_OTHER"

// method tells known methods from others, which are as many as the sender likes.
func method(m string) (known, other string) {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return m, ""
	}
	const longest = 32
	return otherMethod, text(m[:min(len(m), longest)])
}

// proven tells whether the path is one that the server has. 302 and 303 are how forms answer.
func (x *exchange) proven() bool {
	return 200 <= x.status && x.status <= 299 || 302 <= x.status && x.status <= 304 || x.status == 101
}

// scheme is the value of url.scheme.
func (x *exchange) scheme() string { return scheme(x.tls) }

func scheme(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// serverPort is the port of the server, as seen from this side. A unix socket has none.
func (x *exchange) serverPort() uint32 {
	switch {
	case x.socket != "":
		return 0
	case x.side == route.Client:
		return x.raw.GetPeerPort()
	}
	return x.raw.GetLocalPort()
}

// measured is the address under which metrics count: a Host field is for the client to choose, so the server's own metrics
// go by its own address.
func (x *exchange) measured() string {
	if x.side == route.Client {
		return x.server
	}
	return cmp.Or(x.socket, x.local)
}

// appendURL appends the absolute URL of a client's request, without its query, which never left the node; nothing when
// the request has none (OPTIONS *, CONNECT, a unix socket without a Host field).
func (x *exchange) appendURL(b []byte) []byte {
	named := x.called != who.Host{}
	if !strings.HasPrefix(x.path, "/") || !named && x.peer == "" {
		return b
	}
	b = append(append(b, x.scheme()...), "://"...)
	if named {
		return append(append(b, x.host...), x.path...)
	}
	if strings.IndexByte(x.peer, ':') >= 0 {
		b = append(append(append(b, '['), x.peer...), ']')
	} else {
		b = append(b, x.peer...)
	}
	if port := x.raw.GetPeerPort(); port != x.defaultPort() {
		b = strconv.AppendUint(append(b, ':'), uint64(port), 10)
	}
	return append(b, x.path...)
}

// defaultPort is the port of a URL that names none.
func (x *exchange) defaultPort() uint32 {
	if x.tls {
		return 443
	}
	return 80
}

// ids returns the trace id, span id and parent of the exchange. Those that the probe could not give are derived from the
// place of the exchange in its series, so that they are the same whenever the batch is read.
func (x *exchange) ids(origin *eventv1.Origin, index int) (trace, span, parent []byte) {
	trace, span, parent = x.raw.GetTraceId(), x.raw.GetSpanId(), x.raw.GetParentSpanId()
	if valid(trace, 16) && valid(span, 8) {
		if !valid(parent, 8) {
			parent = nil
		}
		return trace, span, parent
	}
	name := append([]byte(origin.GetNode()), 0)
	name = append(append(name, origin.GetRun()...), 0)
	name = binary.LittleEndian.AppendUint64(name, origin.GetSequence())
	name = binary.LittleEndian.AppendUint64(name, uint64(index)) //nolint:gosec // an index
	sum := sha256.Sum256(name)
	if !valid(trace, 16) {
		return sum[:16], sum[16:24], nil
	}
	return trace, sum[16:24], nil
}

// valid tells whether id has the right length and a bit that is set.
func valid(id []byte, length int) bool {
	if len(id) != length {
		return false
	}
	for _, b := range id {
		if b != 0 {
			return true
		}
	}
	return false
}

// address reads and prints an address of the table; "" if it is none.
func address(raw []byte) (netip.Addr, string) {
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return ip, ""
	}
	ip = ip.Unmap()
	return ip, ip.String()
}
