// SPDX-License-Identifier: Apache-2.0

// Package note reads what the annotations of a pod ask Busbar for. A malformed one counts as absent: it never stops a pod, and the
// error says what is wrong with it.
package note

import (
	"fmt"
	"strconv"
	"strings"
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

// Ratio returns the share of traces whose spans are kept; 1 without the annotation.
func Ratio(annotations map[string]string) (float64, error) {
	text, ok := annotations[Sample]
	if !ok {
		return 1, nil
	}
	ratio, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) { // NaN is neither
		return 1, fmt.Errorf("annotation %s: want a share between 0 and 1, got %.100q", Sample, text)
	}
	return ratio, nil
}

// Patterns returns the patterns that an annotation lists, without those that are empty.
func Patterns(annotations map[string]string, name string) (patterns []string) {
	for p := range strings.SplitSeq(annotations[name], ",") {
		if p = strings.TrimSpace(p); p != "" {
			patterns = append(patterns, p)
		}
	}
	return patterns
}
