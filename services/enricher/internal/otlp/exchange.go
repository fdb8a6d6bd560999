// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// Reasons for which an exchange is left out.
const (
	LossProcess  = "process"  // it refers to a process that its batch does not have
	LossAddress  = "address"  // the same of an address, or the address is none
	LossRole     = "role"     // neither server nor client
	LossTime     = "time"     // it began at no time that can be written down
	LossProtocol = "protocol" // a protocol of which this version knows nothing
	LossIgnored  = "ignored"  // RouteRules say so
)

const (
	maxText     = 2048                  // bytes of any text of an exchange
	maxDuration = 365 * 24 * 3600 * 1e9 // nanoseconds; what lasts longer is a mistake
	maxStart    = 1<<63 - 1 - maxDuration
)

// exchange is an HTTP exchange, put in order: texts are valid and bounded, times follow one another.
type exchange struct {
	raw    *eventv1.Exchange
	side   route.Side
	method string // as in http.request.method: known, or "_OTHER"
	other  string // the method as it was sent, if it is not known
	path   string
	host   string // name or address, and perhaps a port, as it was sent
	agent  string
	status uint32 // 100 to 999, or 0 for none
	route  string

	start, end  uint64 // nanoseconds since the epoch
	local, peer string // IP addresses

	requestBody, responseBody uint64
	hasRequest, hasResponse   bool // whether these are known
}

// read puts raw in order, or says why it cannot.
func (e *Encoder) read(raw *eventv1.Exchange, out *exchange) (loss string) {
	http := raw.GetHttp()
	addresses := uint32(len(e.addresses)) //nolint:gosec // bounded by the size of a message
	switch {
	case http == nil:
		return LossProtocol
	case raw.GetRole() != eventv1.Role_ROLE_SERVER && raw.GetRole() != eventv1.Role_ROLE_CLIENT:
		return LossRole
	case raw.GetLocalAddress() >= addresses || raw.GetPeerAddress() >= addresses:
		return LossAddress
	case raw.GetStartUnixNano() == 0 || raw.GetStartUnixNano() > maxStart:
		return LossTime
	}
	*out = exchange{
		raw: raw, side: route.Server,
		path: text(http.GetPath()), host: text(http.GetHost()), agent: text(http.GetUserAgent()),
		start: raw.GetStartUnixNano(), local: e.addresses[raw.GetLocalAddress()], peer: e.addresses[raw.GetPeerAddress()],
	}
	if out.local == "" || out.peer == "" {
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
	out.method, out.other = method(http.GetMethod())
	out.end = out.start + min(max(raw.GetEndNano(), raw.GetRequestEndNano(), raw.GetResponseStartNano()), maxDuration)
	out.requestBody, out.hasRequest = body(raw.GetRequestBytes(), raw.GetRequestHeadBytes())
	out.responseBody, out.hasResponse = body(raw.GetResponseBytes(), raw.GetResponseHeadBytes())
	return ""
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

// proven tells whether the path is one that the server has.
func (x *exchange) proven() bool {
	return 200 <= x.status && x.status <= 299 || x.status == 304 || x.status == 101
}

// failed tells whether the exchange is an error of the side that it is seen from.
func (x *exchange) failed() bool {
	return x.status == 0 || x.status >= 500 || x.status >= 400 && x.side == route.Client
}

// fault is the value of error.type of a failed exchange.
func (x *exchange) fault() string {
	if x.status != 0 {
		return strconv.FormatUint(uint64(x.status), 10)
	}
	switch x.raw.GetOutcome() {
	case eventv1.Outcome_OUTCOME_CLOSED:
		return "connection_closed"
	case eventv1.Outcome_OUTCOME_RESET:
		return "connection_reset"
	case eventv1.Outcome_OUTCOME_NO_RESPONSE:
		return "no_response"
	case eventv1.Outcome_OUTCOME_UNSPECIFIED, eventv1.Outcome_OUTCOME_COMPLETE, eventv1.Outcome_OUTCOME_SUPERSEDED:
	}
	return "_OTHER"
}

// serverIP and serverPort are where the server is, as seen from this side.
func (x *exchange) serverIP() string {
	if x.side == route.Client {
		return x.peer
	}
	return x.local
}

func (x *exchange) serverPort() uint32 {
	if x.side == route.Client {
		return x.raw.GetPeerPort()
	}
	return x.raw.GetLocalPort()
}

// serverName is the name by which the client calls the server, without a port; its IP address if there is none.
func (x *exchange) serverName() string {
	if name := hostName(x.host); name != "" {
		return name
	}
	return x.serverIP()
}

// measured is the address under which metrics count: a Host field is for the client to choose, so the server's own metrics
// go by its own address.
func (x *exchange) measured() string {
	if x.side == route.Client {
		return x.serverName()
	}
	return x.local
}

// hostName cuts the port, and the brackets of an IPv6 address, off a Host field.
func hostName(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		name, _, _ := strings.Cut(rest, "]")
		return name
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		return host[:i]
	}
	return host
}

// appendURL appends the absolute URL of a client's request, without its query, which never left the node; nothing when
// the request has none (OPTIONS *, CONNECT).
func (x *exchange) appendURL(b []byte) []byte {
	if !strings.HasPrefix(x.path, "/") {
		return b
	}
	b = append(b, "http://"...)
	switch {
	case x.host != "":
		b = append(b, x.host...)
	case strings.IndexByte(x.peer, ':') >= 0:
		b = append(append(append(b, '['), x.peer...), ']')
		b = strconv.AppendUint(append(b, ':'), uint64(x.raw.GetPeerPort()), 10)
	default:
		b = append(b, x.peer...)
		b = strconv.AppendUint(append(b, ':'), uint64(x.raw.GetPeerPort()), 10)
	}
	return append(b, x.path...)
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

// address prints an address of the table; "" if it is none.
func address(raw []byte) string {
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return ""
	}
	return ip.Unmap().String()
}
