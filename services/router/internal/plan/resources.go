// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// resources is a message cut into its resources, whose records stay encoded.
type resources struct {
	signal subject.Signal
	heads  ptrace.ResourceSpansSlice
	parts  [][]byte
	items  []int  // records of each part; nil until somebody asks
	taken  []bool // parts that a route took
}

func newResources(signal subject.Signal, data []byte) (*resources, error) {
	parts, err := otlp.Resources(data)
	if err != nil {
		return nil, err
	}
	r := &resources{signal: signal, parts: parts, taken: make([]bool, len(parts))}
	r.heads, err = otlp.Heads(parts)
	return r, err
}

// count counts the records of each part.
func (r *resources) count() (err error) {
	if r.items != nil {
		return nil
	}
	items := make([]int, len(r.parts))
	for i, p := range r.parts {
		if items[i], err = otlp.Count(r.signal, p); err != nil {
			return err
		}
	}
	r.items = items
	return nil
}

// take returns the parts that takes says, as one request; of a whole message no more than that it is one.
func (r *resources) take(takes []bool) (p part, err error) {
	p.whole = !slices.Contains(takes, false) && len(takes) > 0
	if !p.whole {
		err = r.count()
	}
	if err != nil {
		return part{}, err
	}
	for i, yes := range takes {
		if !yes {
			continue
		}
		r.taken[i] = true
		if !p.whole {
			p.Items += r.items[i]
			p.Data = append(p.Data, r.parts[i]...)
		}
	}
	return p, nil
}

// untaken counts the records that no route took. Those of a malformed part count as none: a route has failed for it.
func (r *resources) untaken() (n int) {
	if !slices.Contains(r.taken, false) || r.count() != nil {
		return 0
	}
	for i, taken := range r.taken {
		if !taken {
			n += r.items[i]
		}
	}
	return n
}
