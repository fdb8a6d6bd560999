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
	heads ptrace.ResourceSpansSlice
	parts [][]byte
	items []int  // records of each part
	taken []bool // parts that a route took
}

func newResources(signal subject.Signal, data []byte) (*resources, error) {
	parts, err := otlp.Resources(data)
	if err != nil {
		return nil, err
	}
	r := &resources{parts: parts, items: make([]int, len(parts)), taken: make([]bool, len(parts))}
	for i, p := range parts {
		if r.items[i], err = otlp.Count(signal, p); err != nil {
			return nil, err
		}
	}
	r.heads, err = otlp.Heads(parts)
	return r, err
}

// take returns the parts that takes says, as one request.
func (r *resources) take(takes []bool) part {
	var p part
	for i, yes := range takes {
		if yes {
			r.taken[i] = true
			p.Items += r.items[i]
		}
	}
	if p.whole = !slices.Contains(takes, false) && len(takes) > 0; p.whole {
		return p
	}
	for i, yes := range takes {
		if yes {
			p.Data = append(p.Data, r.parts[i]...)
		}
	}
	return p
}

func (r *resources) untaken() (n int) {
	for i, taken := range r.taken {
		if !taken {
			n += r.items[i]
		}
	}
	return n
}
