// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document: its root, which is a map or the fault of not being one, and the text it came from.
type document struct {
	src  Source
	root *yaml.Node
}

// documents splits a source. Documents before a syntax error are returned, so that their faults are reported too.
func documents(src Source) ([]*document, Faults) {
	roots, err := parse(src.Data)
	docs := make([]*document, 0, len(roots))
	for _, root := range roots {
		docs = append(docs, &document{src: src, root: root})
	}
	if err == nil {
		return docs, nil
	}
	line, col := syntaxPosition(src.Data, err)
	reason := "not YAML: " + yamlPrefix.ReplaceAllString(err.Error(), "")
	return docs, Faults{{File: src.Name, Line: line, Col: col, Reason: reason}}
}

var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

// parse returns the roots of all documents that are not empty, up to the first syntax error.
func parse(data []byte) ([]*yaml.Node, error) {
	var roots []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return roots, nil
		case err != nil:
			return roots, err
		}
		if len(doc.Content) == 1 && !isNull(doc.Content[0]) {
			roots = append(roots, doc.Content[0])
		}
	}
}

// syntaxPosition finds where the YAML stops being valid. The parser tells at best the line where the enclosing block
// begins, so we look for the shortest beginning of the text that draws the same error: its last line is the one at fault.
func syntaxPosition(data []byte, err error) (line, col int) {
	var ends []int // of lines, behind their newline
	for i, c := range data {
		if c == '\n' || i == len(data)-1 {
			ends = append(ends, i+1)
		}
	}
	n := sort.Search(len(ends)-1, func(n int) bool {
		_, e := parse(data[:ends[n]])
		return e != nil && e.Error() == err.Error()
	})
	start := 0
	if n > 0 {
		start = ends[n-1]
	}
	text := data[start:ends[n]]
	blank := len(text) - len(bytes.TrimLeft(text, " "))
	return n + 1, blank + 1
}

// envelope is what all kinds have in common.
type envelope struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec *yaml.Node `yaml:"spec"`
}

// name is that of a DNS label, so that it fits a subject token, a file name and a Kubernetes object.
var legalName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// resource decodes the document. The resource is nil if it cannot be told what it is; other faults leave it there, so that
// duplicates are found as well.
func (d *document) resource(kinds Kinds) (*Resource, Faults) {
	rd := &reader{file: d.src.Name}
	var env envelope
	if root := rd.resolve(d.root, ""); root == nil || !rd.decode(root, "", &env) {
		return nil, rd.faults
	}
	r := &Resource{Kind: env.Kind, Name: env.Metadata.Name, Labels: env.Metadata.Labels, doc: d}
	must := func(ok bool, path, format string, args ...any) bool {
		covered := func(f Fault) bool { return f.Path != "" && strings.HasPrefix(path, f.Path) }
		if !ok && !slices.ContainsFunc(rd.faults, covered) {
			rd.faults = append(rd.faults, r.Fault(path, format, args...))
		}
		return ok
	}
	ours := must(env.APIVersion != "", "apiVersion", "missing, want %s", APIVersion) &&
		must(env.APIVersion == APIVersion, "apiVersion", "want %s, got %s", APIVersion, quoted(env.APIVersion))
	spec, known := kinds[env.Kind]
	switch {
	case !ours: // a kind of another version or system is not known to us
	case env.Kind == "":
		must(false, "kind", "missing %s", choices("", kinds.names()))
	default:
		must(known, "kind", "unknown kind %s %s", quoted(env.Kind), choices(env.Kind, kinds.names()))
	}
	named := must(env.Metadata.Name != "", "metadata.name", "missing") &&
		must(legalName.MatchString(env.Metadata.Name), "metadata.name",
			"want at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit, got %s", quoted(env.Metadata.Name))
	if !ours || !known {
		return nil, rd.faults
	}
	r.Spec = spec()
	if env.Spec != nil {
		rd.message(env.Spec, "spec", r.Spec.ProtoReflect())
	}
	if !named {
		return nil, rd.faults
	}
	return r, rd.faults
}

func (k Kinds) names() []string {
	names := make([]string, 0, len(k))
	for name := range k {
		names = append(names, name)
	}
	return names
}

// files returns the paths of the ${file:PATH} references in the document.
func (d *document) files() []string {
	var files []string
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			for _, ref := range references(n.Value) {
				if ref.scheme == "file" {
					files = append(files, ref.name)
				}
			}
		}
		for _, c := range n.Content { // aliases point to what is visited anyway
			visit(c)
		}
	}
	visit(d.root)
	return files
}

// Fault says what is wrong at a path such as spec.steps[1].transform[0]. Its position is that of the value there; of a
// thing that is missing it is the place where it belongs. Paths may name fields that shorthand leaves out.
func (r *Resource) Fault(path, format string, args ...any) Fault {
	return r.FaultAt(path, 0, format, args...)
}

// FaultAt is [Resource.Fault] for a place inside a text: offset counts characters from its beginning. Where the text is
// written with escapes or folded lines the position is that of its beginning.
func (r *Resource) FaultAt(path string, offset int, format string, args ...any) Fault {
	f := Fault{Path: path, Reason: fmt.Sprintf(format, args...)}
	if r.doc == nil { // made by a program
		f.File = r.Kind + "/" + r.Name
		return f
	}
	node, _ := locate(r.doc.root, path)
	f.File = r.doc.src.Name
	f.Line, f.Col = r.doc.inside(node, offset)
	return f
}

// inside is the position of the character of a scalar at offset.
func (d *document) inside(n *yaml.Node, offset int) (line, col int) {
	text := []rune(n.Value)
	if n.Kind != yaml.ScalarNode || offset <= 0 || offset > len(text) {
		return n.Line, n.Column
	}
	before := string(text[:offset])
	if n.Style&yaml.LiteralStyle != 0 { // the lines below the |, each indented alike
		below := strings.Count(before, "\n")
		row := []rune(strings.Split(n.Value, "\n")[below])
		line = n.Line + 1 + below
		indent := len([]rune(d.line(line))) - len(row)
		return line, max(indent, 0) + len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	}
	quote := 0
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		quote = 1
	}
	written := []rune(d.line(n.Line))
	if from := n.Column - 1 + quote; from <= len(written) && strings.HasPrefix(string(written[from:]), before) {
		return n.Line, n.Column + quote + offset
	}
	return n.Line, n.Column
}

// line returns the text of a line, numbered from 1, and "" beyond the end.
func (d *document) line(number int) string {
	i := 0
	for line := range bytes.Lines(d.src.Data) {
		if i++; i == number {
			return strings.TrimRight(string(line), "\r\n")
		}
	}
	return ""
}

// Decode reads the part of a resource at path, such as spec.otlphttp, into a Go value as strictly as [Load] reads messages.
// It is for specs whose shape the contract leaves open (google.protobuf.Struct). Struct fields are those with a yaml tag;
// durations are written as in Go ("500ms"); types may implement encoding.TextUnmarshaler; an any takes maps, lists,
// strings, bools, int64 (uint64 beyond), float64 and nil. What is absent or null keeps the value it has.
func Decode(r *Resource, path string, into any) Faults {
	if r.doc == nil {
		return Faults{r.Fault(path, "not loaded from a text")}
	}
	rd := &reader{file: r.doc.src.Name}
	if n, found := locate(r.doc.root, path); found {
		if n = rd.resolve(n, path); n != nil {
			rd.decode(n, path, into)
		}
	}
	return rd.faults.tidy()
}
