// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"

	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// facts are a span while it is mapped.
type facts struct {
	*process
	*idx.InternalSpan
	view     *view
	kind     int
	resource string // what was done, as Datadog calls it
	tables   string // that a statement names
}

// Types of spans whose resource is a statement.
func (f *facts) isSQL() bool { return f.Type() == "sql" || f.Type() == "cassandra" }

// hide takes out of the span what should not be kept, if the client has not done so itself.
func (f *facts) hide() {
	if !f.from.Raw || f.Hide == nil {
		return
	}
	at := func(s slot, change func(string) string) {
		if f.view.values[s].Kind == otlp.Text {
			f.view.values[s].Text = change(f.view.values[s].Text)
		}
	}
	database := f.view.text(database)
	sql := func(statement string) string {
		hidden, tables := f.Hide.SQL(statement, database)
		f.tables = cmp.Or(f.tables, tables)
		return hidden
	}
	switch {
	case f.isSQL():
		f.resource = sql(f.resource)
		at(query, sql)
	case f.Type() == "redis" || f.Type() == "valkey":
		f.resource = firstWords(f.resource)
		at(query, f.Hide.Redis)
	case f.Type() == "memcached":
		f.resource = f.Hide.Memcached(f.resource)
		at(query, f.Hide.Memcached)
	case f.Type() == "mongodb" || f.Type() == "elasticsearch" || f.Type() == "opensearch":
		at(query, func(q string) string { return f.Hide.JSON(q, f.Type()) })
	default:
		at(query, sql)
	}
	at(redis, f.Hide.Redis)
	at(memcached, f.Hide.Memcached)
	at(documents, func(q string) string { return f.Hide.JSON(q, f.Type()) })
	at(address, f.Hide.URL)
	for i := range f.view.rest {
		if p := &f.view.rest[i]; p.Value.Kind == otlp.Text {
			p.Value.Text = f.Hide.Card(p.Key, p.Value.Text)
		}
	}
}

// firstWords are the commands of a pipeline of Redis, one a line, without their arguments.
func firstWords(commands string) string {
	var out []string
	for line := range strings.Lines(commands) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word != "" {
			out = append(out, strings.ToUpper(word))
		}
	}
	return strings.Join(out, " ")
}

// name is the name of the span: of few different ones, where that can be.
func (f *facts) name() string {
	m, r := f.view.text(method), f.view.text(route)
	switch {
	case m != "" && r != "":
		return m + " " + r
	case f.view.text(rpcPath) != "":
		return strings.TrimPrefix(f.view.text(rpcPath), "/")
	case f.view.text(rpcSystem) == "grpc" && strings.HasPrefix(f.resource, "/"):
		return f.resource[1:]
	case f.isSQL():
		return cmp.Or(f.summary(), f.resource, f.Name())
	}
	return cmp.Or(f.resource, f.Name())
}

// maxWords is how far a statement is looked into for its table.
const maxWords = 256

// summary is the operation of a statement and the table that it is about.
func (f *facts) summary() string {
	words := strings.FieldsFunc(cmp.Or(f.resource, f.view.text(query)), func(r rune) bool {
		return r == ' ' || r == '\n' || r == '\t' || r == '\r' || r == '(' || r == ')' || r == ';'
	})
	if len(words) == 0 || !isWord(words[0]) {
		return ""
	}
	operation := strings.ToUpper(words[0])
	table, _, _ := strings.Cut(f.tables, ",")
	for i := 0; table == "" && i+1 < min(len(words), maxWords); i++ {
		switch strings.ToUpper(words[i]) {
		case "FROM", "INTO", "UPDATE", "TABLE", "CALL":
			table = strings.Trim(words[i+1], "\"`[],")
		}
	}
	if table == "" || strings.ContainsAny(table, "?'") {
		return operation
	}
	return operation + " " + table
}

// isWord tells whether s is made of letters.
func isWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) < 0
}

// attributes adds what the span says.
func (f *facts) attributes(e *otlp.Span) {
	v := f.view
	text := func(key, value string) {
		if value != "" {
			e.Attribute(key, otlp.String(value))
		}
	}
	number := func(key string, s slot) {
		if n, ok := v.number(s); ok {
			e.Attribute(key, otlp.Integer(n))
		} else {
			text(key, v.text(s))
		}
	}
	text("operation.name", f.Name())
	text("resource.name", f.resource)
	text("span.type", f.Type())
	text("http.request.method", v.text(method))
	number("http.response.status_code", status)
	text("http.route", v.text(route))
	text("user_agent.original", v.text(agent))
	text("client.address", v.text(client))
	f.place(e, text, number)
	f.store(text)
	text("rpc.system", v.text(rpcSystem))
	text("rpc.method", v.text(rpcMethod))
	if code, ok := grpcCode(v.text(rpcStatus)); ok && v.values[rpcStatus].Kind != 0 {
		e.Attribute("rpc.grpc.status_code", otlp.Integer(code))
	}
	text("rpc.grpc.full_method", v.text(rpcPath))
	text("dd.component", cmp.Or(f.Component(), v.text(component)))
	if b := base(f.InternalSpan); b != f.Service() && f.owner(f.InternalSpan) == b {
		text("peer.service", f.Service())
	}
	for _, p := range v.rest {
		if p.Value.Kind != 0 && !(p.Key == "service" && p.Value.Text == f.owner(f.InternalSpan)) {
			e.Attribute(p.Key, p.Value)
		}
	}
}

// place says where a request went: a client to a whole address, a server to a path on itself.
func (f *facts) place(e *otlp.Span, text func(key, value string), number func(string, slot)) {
	v := f.view
	host := v.text(server)
	u, ok := parse(v.text(address))
	switch {
	case ok && f.kind == otlp.KindServer:
		text("url.scheme", u.Scheme)
		text("url.path", u.EscapedPath())
		text("url.query", u.RawQuery)
		if host == "" {
			host = u.Hostname()
			if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && v.values[port].Kind == 0 {
				e.Attribute("server.port", otlp.Integer(int64(n))) //nolint:gosec // 16 bits
			}
		}
	default:
		text("url.full", v.text(address))
	}
	text("server.address", host)
	number("server.port", port)
}

// store says what was asked of a database.
func (f *facts) store(text func(key, value string)) {
	v := f.view
	name := v.text(database)
	switch f.Type() {
	case "redis", "valkey", "memcached", "mongodb", "cassandra", "elasticsearch", "opensearch":
		name = cmp.Or(name, f.Type())
	}
	text("db.system.name", system(name))
	text("db.namespace", v.text(namespace))
	statement := cmp.Or(v.text(query), v.text(redis), v.text(memcached), v.text(documents))
	if f.isSQL() {
		statement = cmp.Or(statement, f.resource)
		text("db.query.summary", f.summary())
	}
	text("db.query.text", statement)
}

// failure says that the span failed, and of what.
func (f *facts) failure(e *otlp.Span, end uint64) {
	v := f.view
	kind, message, stack := v.text(errorType), v.text(errorMessage), v.text(errorStack)
	if f.Error() {
		e.Failed(message)
	}
	if kind != "" {
		e.Attribute("error.type", otlp.String(kind))
	}
	if kind == "" && message == "" && stack == "" || f.hasException() {
		return
	}
	ex := otlp.NewEvent("exception", end)
	for _, p := range []otlp.Pair{pair("exception.type", kind), pair("exception.message", message), pair("exception.stacktrace", stack)} {
		if p.Value.Text != "" {
			ex.Attribute(p.Key, p.Value)
		}
	}
	e.Event(ex)
}

// hasException tells whether the span has an event that says what failed.
func (f *facts) hasException() bool {
	for _, ev := range f.Events() {
		if ev.Name() == "exception" {
			return true
		}
	}
	return false
}
