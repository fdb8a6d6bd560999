// SPDX-License-Identifier: Apache-2.0

// Package note reads what the annotations of a pod ask Busbar for. A malformed one counts as absent: it never stops a pod, and the
// error says what is wrong with it.
package note

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/sampling"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/busbar/busbar/services/enricher/internal/route"
)

// The annotations.
const (
	Observe      = "busbar.dev/observe"       // "false": no process of the pod is observed
	Sample       = "busbar.dev/sample"        // share of its traces that keep their spans, 0 to 1
	Routes       = "busbar.dev/routes"        // patterns, parted by commas, that come before those of RouteRules
	IgnoreRoutes = "busbar.dev/ignore-routes" // patterns of paths that leave no span and no metric
)

// OptsOut tells whether a pod asks not to be observed.
func OptsOut(annotations map[string]string) (bool, error) {
	text, ok := annotations[Observe]
	if !ok {
		return false, nil
	}
	observe, err := strconv.ParseBool(strings.TrimSpace(text))
	if err != nil {
		return false, fmt.Errorf("annotation %s: want true or false, got %.100q", Observe, text)
	}
	return !observe, nil
}

// Notes are what the annotations of a pod ask for, besides whether it is observed. Nil asks for nothing. They never change.
type Notes struct {
	own       *route.Own // its routes; nil for none
	State     string     // tracestate of spans that are kept; empty when all are
	threshold sampling.Threshold
}

// Read returns what annotations ask for, nil for nothing. The error says what is wrong with each that is malformed.
func Read(annotations map[string]string) (*Notes, error) {
	_, observe := OptsOut(annotations)
	n := new(Notes)
	sample := n.sample(annotations)
	patterns, routes := compile(annotations, Routes)
	ignored, ignore := compile(annotations, IgnoreRoutes)
	if len(patterns)+len(ignored) > 0 {
		n.own = route.NewOwn(patterns, ignored)
	}
	if n.own == nil && n.State == "" {
		n = nil
	}
	return n, errors.Join(observe, sample, routes, ignore)
}

// sample reads the share of traces that keep their spans.
func (n *Notes) sample(annotations map[string]string) error {
	text, ok := annotations[Sample]
	if !ok {
		return nil
	}
	ratio, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) { // NaN is neither
		return fmt.Errorf("annotation %s: want a share between 0 and 1, got %.100q", Sample, text)
	}
	if ratio == 1 {
		return nil
	}
	if n.threshold, err = sampling.ProbabilityToThreshold(ratio); err != nil {
		n.threshold = sampling.NeverSampleThreshold // too small for 56 bits, or 0
	}
	n.State = "ot=th:" + n.threshold.TValue()
	return nil
}

// Keeps tells whether the spans of a trace are kept. All spans of a trace share a fate, in whatever pod they are and wherever else it is
// sampled in the same way: what decides are the last 56 bits of its id.
func (n *Notes) Keeps(trace []byte) bool {
	return n == nil || n.State == "" || len(trace) == 16 && n.threshold.ShouldSample(sampling.TraceIDToRandomness(pcommon.TraceID(trace)))
}

// Routes returns the routes of the pod; nil for none.
func (n *Notes) Routes() *route.Own {
	if n == nil {
		return nil
	}
	return n.own
}

// compile reads the patterns that an annotation lists, without those that are none.
func compile(annotations map[string]string, name string) (patterns []route.Pattern, err error) {
	var errs []error
	for text := range strings.SplitSeq(annotations[name], ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := route.Compile(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: pattern %.100q: %w", name, text, err))
			continue
		}
		patterns = append(patterns, p)
	}
	return patterns, errors.Join(errs...)
}
