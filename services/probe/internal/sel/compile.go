// SPDX-License-Identifier: Apache-2.0

package sel

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/config"
)

// compiler turns one resource into rules and collects what is wrong with it.
type compiler struct {
	res    *config.Resource
	faults config.Faults
}

func (c *compiler) fault(at, format string, args ...any) {
	c.faults = append(c.faults, c.res.Fault(at, format, args...))
}

func (c *compiler) entries(at string, selectors []*configv1.ProcessSelector) []entry {
	entries := make([]entry, 0, len(selectors))
	for i, s := range selectors {
		entries = append(entries, c.entry(fmt.Sprintf("%s[%d]", at, i), s))
	}
	return entries
}

func (c *compiler) entry(at string, s *configv1.ProcessSelector) entry {
	e := entry{pids: s.GetPids(), named: len(s.GetPids()) > 0 || strings.Trim(path.Base(s.GetExe()), "*?./") != ""}
	var err error
	if text := s.GetOpenPorts(); text != "" {
		if e.ports, err = parseRanges(text); err != nil {
			c.fault(at+".openPorts", "%v", err)
		}
	}
	if e.executable, err = glob(s.GetExe()); err != nil {
		c.fault(at+".exe", "%v", err)
	}
	if e.container, err = glob(s.GetContainerId()); err != nil {
		c.fault(at+".containerId", "%v", err)
	}
	known := languages()
	for i, name := range s.GetLanguages() {
		lang, ok := known[name]
		if !ok {
			c.fault(fmt.Sprintf("%s.languages[%d]", at, i), "unknown language %q (known: %s)", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		e.languages = append(e.languages, lang)
	}
	if k := s.GetK8S(); k != nil {
		k.Check(func(path, reason string) { c.fault(strings.TrimSuffix(at+".k8s."+path, "."), "%s", reason) })
		e.kubernetes, e.placed = k.Key(), strings.Trim(k.GetNamespace(), "*?") != ""
	}
	e.contained = s.GetContainersOnly()
	if proto.Size(s) == 0 {
		c.fault(at, "an entry needs at least one key, or it would match every process")
	}
	return e
}

// languages are the names that users give.
func languages() map[string]eventv1.Language {
	return map[string]eventv1.Language{
		"go":     eventv1.Language_LANGUAGE_GO,
		"java":   eventv1.Language_LANGUAGE_JAVA,
		"nodejs": eventv1.Language_LANGUAGE_NODEJS,
		"python": eventv1.Language_LANGUAGE_PYTHON,
		"ruby":   eventv1.Language_LANGUAGE_RUBY,
		"dotnet": eventv1.Language_LANGUAGE_DOTNET,
		"php":    eventv1.Language_LANGUAGE_PHP,
		"rust":   eventv1.Language_LANGUAGE_RUST,
		"cpp":    eventv1.Language_LANGUAGE_CPP,
	}
}

// ranges are port ranges, both ends included.
type ranges [][2]uint16

func (r ranges) has(port uint16) bool {
	return slices.ContainsFunc(r, func(ends [2]uint16) bool { return ends[0] <= port && port <= ends[1] })
}

// parseRanges reads "80,8080-8090".
func parseRanges(text string) (ranges, error) {
	var r ranges
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, errFrom := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		to, errTo := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if errFrom != nil || errTo != nil || from == 0 || to < from {
			return nil, fmt.Errorf("%q is no port and no range of ports, such as 8080 or 8080-8090", strings.TrimSpace(part))
		}
		r = append(r, [2]uint16{uint16(from), uint16(to)})
	}
	return r, nil
}

// glob compiles a pattern in which '*' stands for any text within a path element, at either end of the pattern for any text
// at all, and '?' for one character of a path element. An empty pattern is nil. What has a meaning in other globs is refused.
func glob(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil //nolint:nilnil // no pattern, no expression
	}
	if i := strings.IndexAny(pattern, `[]{}\`); i >= 0 {
		return nil, fmt.Errorf("%q is no glob: only '*' and '?' are special, and %q may not be in it", pattern, pattern[i])
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i, c := range pattern {
		switch {
		case c == '*' && (i == 0 || i == len(pattern)-1):
			b.WriteString(`.*`)
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString(`$`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("%q is no glob: %w", pattern, err)
	}
	return re, nil
}
