// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/busbar/busbar/contract/subject"
)

const subjectsPage = "docs/subjects.md"

// TestSubjectsPage compares the tables of docs/subjects.md with contract/subject, both ways.
func TestSubjectsPage(t *testing.T) {
	t.Parallel()
	const r = subject.DefaultRoot

	// Placeholders of the page, as the code is called with their names.
	code := map[string]string{ // subject → schema
		r.RawExchange("<node>"):           subject.SchemaExchanges,
		r.RawProcess("<node>"):            subject.SchemaProcesses,
		r.Dead("<service>", "<reason>"):   "",
		r.Beat("<service>", "<instance>"): "busbar.fleet.v1.Heartbeat",
		r.Owners("<destination>"):         subject.SchemaOwners,
	}
	code[r.Route("<side>", "<service>", "<hash>")] = subject.SchemaShape
	for kind, schema := range map[string]string{"pod": subject.SchemaPod, "service": subject.SchemaService, "node": subject.SchemaNode} {
		code[r.Kube(kind, "<uid>")] = schema
	}
	code[r.Selection("<node>")], code[r.KubeWatcher()] = subject.SchemaSelection, subject.SchemaWatcher
	state := strings.TrimSuffix(r.ShardState("<destination>", 0), "0") + subject.Token("<shard>")
	code[state], code[state+"."+subject.Token("<part>")] = subject.SchemaShard, subject.SchemaPart
	for _, s := range subject.Signals() {
		code[r.OTLP(s, "<tenant>", "<namespace>", "<service>")] = s.Schema()
		code[strings.TrimSuffix(r.Out("<destination>", s, 0), "0")+subject.Token("<shard>")] = s.Schema()
	}
	page := make(map[string]string)
	for _, row := range table(t, "subject") {
		schema := row[1]
		if !strings.Contains(schema, ".") {
			schema = ""
		}
		page[tokens(row[0])] = schema
	}
	if !reflect.DeepEqual(code, page) {
		t.Errorf("subjects and schemas\n code %q\n page %q", code, page)
	}

	var streams [][]string
	for _, s := range []subject.Stream{r.RawStream(), r.OTLPStream(), r.OutStream("<destination>"), r.StateStream("<destination>"), r.KubeStream(), r.RouteStream(), r.DeadStream()} {
		streams = append(streams, []string{s.Name, strings.Join(s.Subjects, ", "), size(s.MaxBytes), age(s.MaxAge), age(s.Duplicates)})
	}
	documented := table(t, "stream", "subjects")
	for _, row := range documented {
		row[0], row[1] = tokens(row[0]), tokens(row[1])
	}
	if !reflect.DeepEqual(streams, documented) {
		t.Errorf("streams\n code %q\n page %q", streams, documented)
	}

	for _, header := range []string{subject.HeaderSchema, subject.HeaderItems, subject.HeaderSource} {
		if !slices.ContainsFunc(table(t, "header"), func(row []string) bool { return row[0] == header }) {
			t.Errorf("%s does not explain the header %s", subjectsPage, header)
		}
	}
}

// A new family of subjects must come to the page: this fails when subject.Root has a method that the test above ignores.
func TestSubjectsPageKnowsEveryFamily(t *testing.T) {
	t.Parallel()
	known := []string{
		"Beat", "Dead", "Kube", "KubeAll", "KubeWatcher", "OTLP", "Out", "Owners", "RawExchange", "RawProcess", "Route", "Selection", "SeriesState", "ShardState", // subjects
		"DeadStream", "KubeStream", "OTLPStream", "OutStream", "RawStream", "RouteStream", "StateStream", // streams
		"ParseOTLP", "ParseOut",
	}
	root := reflect.TypeFor[subject.Root]()
	for m := range root.Methods() {
		if !slices.Contains(known, m.Name) {
			t.Errorf("subject.Root.%s is not compared with %s", m.Name, subjectsPage)
		}
	}
}

// table returns the rows of the first table of the page whose heading begins with these cells, without their backquotes.
func table(t *testing.T, heading ...string) [][]string {
	t.Helper()
	var rows [][]string
	inside := false
	for line := range strings.Lines(read(t, subjectsPage)) {
		if !strings.HasPrefix(line, "|") {
			if inside {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		switch {
		case inside && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		case len(cells) >= len(heading) && slices.Equal(cells[:len(heading)], heading):
			inside = true
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table that begins with %q", subjectsPage, heading)
	}
	return rows
}

// tokens writes the placeholders of the page as contract/subject writes user data: "<" and ">" are not legal in a token.
func tokens(s string) string {
	if start, ok := strings.CutSuffix(s, ".>"); ok {
		return tokens(start) + ".>"
	}
	return strings.NewReplacer("<", "_", ">", "_").Replace(s)
}

func size(n int64) string {
	const kib = 1 << 10
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < kib || n%kib != 0 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= kib
	}
	return fmt.Sprintf("%d GiB", n)
}

func age(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	s := strings.TrimSuffix(d.String(), "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
