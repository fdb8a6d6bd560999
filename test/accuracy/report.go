// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// result is what one run of the matrix found, under one tier.
type result struct {
	tier     string
	choice   *choice
	verdicts []verdict
	dropped  map[string]uint64
	faults   []string
}

// good tells whether every cell is right.
func (r *result) good() bool {
	return len(r.faults) == 0 && !slices.ContainsFunc(r.verdicts, func(v verdict) bool { return !v.good() })
}

const preface = `# Accuracy

Is what the probe reports what happened? ` + "`make accuracy`" + ` lets real servers and clients have exchanges of every shape that HTTP/1.x knows, over
plain connections and over TLS. It knows each byte of them, and compares what ` + "`busbar-probe`" + ` published on the bus, exchange by
exchange. A cell says how many exchanges were reported right, of how many there were: once, with the right method, path, status, bytes of
request and response, side of the connection, outcome, reason of a reset and TLS library. "not HTTP at all" and what follows an upgrade must
yield nothing. An exchange too many is a fault as well. 10 MB bodies are done a fiftieth as often, and a
tenth as often what is slow: clients that read their certificates anew for each connection, and servers that cannot wait to be reset.

This page is written by the runs; the figures are theirs. Bytes are those of HTTP: with TLS, of the plaintext. [Other
kernels](accuracy-kernels.md) have a page of their own.

`

// kernelsPreface is for the page that runs on other kernels are merged into.
const kernelsPreface = `# Accuracy on other kernels

[Accuracy](accuracy.md) says what is compared. Here it is done on kernels of Debian in emulated machines (` + "`make accuracy-kernels`" + `), with one
processor that is some thirty times as slow as a real one: with fewer servers and clients, fewer exchanges, and without TLS. The probe is the whole one, with all that it
loads beside a tier. This page is written by the runs; the figures are theirs.

What is missing on kernels after 6.18 passed while threads were preempted within hooks, as [operations](operations.md#kernels) has it: far likelier
where a hook takes thirty times as long. It is counted as ` + "`hook_recursion`" + `.

`

const legend = `Of connections whose plaintext cannot be seen there is one report each, with the right side, server name and version; their sizes are
not compared. "all, client side" is this test's own client, a Go program on bare sockets, in its conversations with all of the servers. "—" has a
reason below its table.

`

// section is the part of the page for one kernel and tier.
type section struct{ title, summary, text string }

// section renders a result.
func (r *result) section(ctx context.Context) section {
	var b strings.Builder
	s := section{title: fmt.Sprintf("Linux %s, tier %s", kernelSeries(), r.tier), summary: r.summary()}
	fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n\n", s.title, s.summary, machine(ctx, r.choice))
	if len(r.dropped) > 0 {
		fmt.Fprintf(&b, "The probe counted as lost:")
		for _, reason := range slices.Sorted(maps.Keys(r.dropped)) {
			fmt.Fprintf(&b, " %s %d", reason, r.dropped[reason])
		}
		b.WriteString(".\n\n")
	}
	for _, f := range r.faults {
		fmt.Fprintf(&b, "On the bus: %s\n\n", f)
	}
	for _, t := range []struct{ key, title string }{
		{"server", "Servers"}, {"server, TLS", "Servers over TLS"}, {"client", "Clients"}, {"client, TLS", "Clients over TLS"}, {"encrypted", "Connections whose plaintext cannot be seen"}, {"calls", "System calls (C)"},
	} {
		writeTable(&b, t.title, slices.DeleteFunc(slices.Clone(r.verdicts), func(v verdict) bool { return v.Table != t.key }))
	}
	s.text = b.String()
	return s
}

func (r *result) summary() string {
	cells, goodCells, wanted, right := 0, 0, 0, 0
	for _, v := range r.verdicts {
		if v.None != "" {
			continue
		}
		cells, wanted, right = cells+1, wanted+v.Wanted, right+v.Right
		if v.good() {
			goodCells++
		}
	}
	return fmt.Sprintf("%d of %d cells are right; %d of %d exchanges are.", goodCells, cells, right, wanted)
}

// writeTable writes a table with a row for each shape and a column for each program, and what needs to be said below it.
func writeTable(b *strings.Builder, title string, verdicts []verdict) {
	if len(verdicts) == 0 {
		return
	}
	var rows, columns, notes []string
	cells := map[[2]string]string{}
	for _, v := range verdicts {
		if !slices.Contains(rows, v.Row) {
			rows = append(rows, v.Row)
		}
		if !slices.Contains(columns, v.Column) {
			columns = append(columns, v.Column)
		}
		cells[[2]string{v.Row, v.Column}] = v.text(&notes)
	}
	slices.SortStableFunc(columns, func(a, b string) int { return last(a) - last(b) })
	fmt.Fprintf(b, "### %s\n\n|  | %s |\n|---|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row)
		for _, column := range columns {
			fmt.Fprintf(b, " %s |", cells[[2]string{row, column}])
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, n := range notes {
		fmt.Fprintf(b, "%d. %s\n", i+1, n)
	}
	if len(notes) > 0 {
		b.WriteString("\n")
	}
}

// last puts the columns of clients behind those of servers.
func last(column string) int {
	switch {
	case strings.HasPrefix(column, "all, "):
		return 2
	case strings.HasPrefix(column, "nginx, "):
		return 1
	}
	return 0
}

// text is what a cell shows. What it needs to have explained becomes a note.
func (v *verdict) text(notes *[]string) string {
	note := func(s string) int {
		if i := slices.Index(*notes, s); i >= 0 {
			return i + 1
		}
		*notes = append(*notes, s)
		return len(*notes)
	}
	switch {
	case v.None != "":
		return fmt.Sprintf("— (%d)", note(v.None))
	case v.good():
		return fmt.Sprintf("%d/%d", v.Right, v.Wanted)
	}
	const most = 3
	wrong := v.Wrong
	if len(wrong) > most {
		wrong = append(slices.Clone(wrong[:most]), fmt.Sprintf("and %d more", len(wrong)-most))
	}
	return fmt.Sprintf("**%d/%d** (%d)", v.Right, v.Wanted, note(strings.Join(wrong, "; ")))
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// kernelSeries is the first two numbers of the kernel's version.
func kernelSeries() string { return regexp.MustCompile(`^\d+\.\d+`).FindString(kernel()) }

// machine names the kernel and the versions of what took part.
func machine(ctx context.Context, c *choice) string {
	words := []string{"Kernel " + kernel() + " " + runtime.GOARCH, runtime.Version()}
	for _, p := range []struct {
		key, title string
		argv       []string
	}{
		{"python", "", []string{python(), "--version"}},
		{"node", "Node.js", []string{"node", "--version"}},
		{"nginx", "", []string{nginx, "-v"}},
		{"java", "", []string{"java", "--version"}},
		{"php", "", []string{"php", "--version"}},
		{"ruby", "", []string{"ruby", "--version"}},
		{"curl", "", []string{"curl", "--version"}},
		{"wget", "", []string{"wget", "--version"}},
		{"openssl", "", []string{"openssl", "version"}},
	} {
		if p.key == "openssl" && !c.secure || p.key != "openssl" && !chosen(c.servers, p.key) && !chosen(c.clients, p.key) {
			continue
		}
		out, err := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...).CombinedOutput()
		if version := versionIn.FindString(string(out)); err == nil && version != "" {
			words = append(words, strings.TrimSpace(p.title+" "+version))
		}
	}
	return strings.Join(words, ", ") + "."
}

var versionIn = regexp.MustCompile(`(Python |nginx/|openjdk |PHP |ruby |OpenSSL |curl |Wget |v)\d+[\d.]*`) //nolint:gochecknoglobals // Compiled once.

// sections splits a page into its parts by kernel and tier.
func sections(page string) []section {
	var out []section
	for i, part := range strings.Split(page, "\n## ") {
		if i == 0 {
			continue
		}
		lines := strings.SplitN(part, "\n", 4)
		if len(lines) < 4 {
			continue
		}
		out = append(out, section{title: lines[0], summary: lines[2], text: "## " + strings.TrimRight(part, "\n") + "\n\n"})
	}
	return out
}

// update puts sections into the page at path, each in place of the one of the same title.
func update(path, preface string, fresh []section) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := sections(string(old))
	for _, s := range fresh {
		if i := slices.IndexFunc(all, func(o section) bool { return o.title == s.title }); i >= 0 {
			all[i] = s
		} else {
			all = append(all, s)
		}
	}
	var b strings.Builder
	b.WriteString(preface + "| run | result |\n|---|---|\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| %s | %s |\n", s.title, s.summary)
	}
	b.WriteString("\n" + legend)
	for _, s := range all {
		b.WriteString(s.text)
	}
	return os.WriteFile(path, []byte(strings.TrimRight(b.String(), "\n")+"\n"), 0o644) //nolint:gosec // A document.
}
