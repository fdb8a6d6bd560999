// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A path names a place in a document: keys joined by dots, list positions in brackets, and keys that would be misread
// quoted in brackets, as in spec.steps[0].headers["x.y"].

// Path is the path of a key of the map at path, which is empty for the whole document.
func Path(path, key string) string { return child(path, key) }

// child is the path of a key of the map at path.
func child(path, key string) string {
	switch {
	case key == "" || strings.ContainsFunc(key, func(c rune) bool { return !plain(c) }):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

func plain(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '/'
}

// element is the path of an element of the list at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// step is one part of a path: a key, or a position in a list.
type step struct {
	key   string
	index int // -1 for a key
}

// steps takes a path apart. It is lenient, since it only serves to find a position: what it cannot read ends the path.
func steps(path string) []step {
	var out []step
	for path != "" {
		if path[0] != '[' {
			path = strings.TrimPrefix(path, ".")
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			if end == 0 {
				return out
			}
			out = append(out, step{key: path[:end], index: -1})
			path = path[end:]
			continue
		}
		path = path[1:]
		if quoted, err := strconv.QuotedPrefix(path); err == nil {
			key, _ := strconv.Unquote(quoted) // a quoted prefix unquotes
			out = append(out, step{key: key, index: -1})
			path = strings.TrimPrefix(path[len(quoted):], "]")
			continue
		}
		digits, rest, _ := strings.Cut(path, "]")
		i, err := strconv.Atoi(digits)
		if err != nil || i < 0 {
			return out
		}
		out = append(out, step{index: i})
		path = rest
	}
	return out
}

// locate walks from root along path. It returns the value there and true, or else the nearest node that stands for it: the
// key whose map lacks the next step. A step that does not fit the node it meets is passed over, since shorthand leaves
// steps out.
func locate(root *yaml.Node, path string) (*yaml.Node, bool) {
	value, nearest := root, root
	for _, s := range steps(path) {
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case s.index < 0 && value.Kind == yaml.MappingNode:
			i := 0
			for i < len(value.Content) && value.Content[i].Value != s.key {
				i += 2
			}
			if i >= len(value.Content) {
				return nearest, false
			}
			nearest, value = value.Content[i], value.Content[i+1]
		case s.index >= 0 && value.Kind == yaml.SequenceNode:
			if s.index >= len(value.Content) {
				return nearest, false
			}
			value = value.Content[s.index]
			nearest = value
		}
	}
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	return value, true
}
