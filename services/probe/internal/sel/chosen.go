// SPDX-License-Identifier: Apache-2.0

package sel

import (
	"maps"
	"slices"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// maxChoices bounds what is remembered of one node. Kubernetes allows a few hundred pods; what is beyond counts as unknown.
const maxChoices = 16384

// Chosen is what whoever watches Kubernetes says about the containers of this node. It never changes. Nil knows nothing: then no entry
// that is about Kubernetes matches.
type Chosen struct {
	containers map[string]choice
	selectors  []string // keys of those that were tried
}

// choice is what is said about one container. The zero value is: nothing.
type choice struct {
	selectors      []string // keys of those that match, in order
	optOut, system bool
}

func (c choice) equal(o choice) bool {
	return c.optOut == o.optOut && c.system == o.system && slices.Equal(c.selectors, o.selectors)
}

// Choose reads a selection. What makes no sense in it is left out.
func Choose(s *kubev1.Selection) *Chosen {
	c := &Chosen{containers: map[string]choice{}, selectors: s.GetSelectors()}
	for _, said := range s.GetChoices()[:min(len(s.GetChoices()), maxChoices)] {
		this := choice{optOut: said.GetOptOut(), system: said.GetSystem()}
		for _, i := range said.GetSelectors() {
			if int(i) < len(c.selectors) {
				this.selectors = append(this.selectors, c.selectors[i])
			}
		}
		slices.Sort(this.selectors) // the same content compares equal, whatever order it came in
		if id := said.GetContainerId(); id != "" {
			c.containers[id] = this
		}
	}
	return c
}

// Containers is how many containers a selector matches, and how many ask not to be observed.
func (c *Chosen) Containers() (selected, optedOut int) {
	if c == nil {
		return 0, 0
	}
	for this := range maps.Values(c.containers) {
		switch {
		case this.optOut:
			optedOut++
		case len(this.selectors) > 0:
			selected++
		}
	}
	return selected, optedOut
}

// Agrees tells whether both say the same about a container.
func (c *Chosen) Agrees(o *Chosen, container string) bool {
	return c.of(container).equal(o.of(container))
}

func (c *Chosen) of(container string) choice {
	if c == nil || container == "" {
		return choice{}
	}
	return c.containers[container]
}

func (c *Chosen) tried(selector string) bool {
	return c != nil && slices.Contains(c.selectors, selector)
}
