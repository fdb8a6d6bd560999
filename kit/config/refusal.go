// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Refusal is why the last change of the resources was refused, for whoever tells how a process is. The zero value is none.
type Refusal struct{ text atomic.Pointer[string] }

// note takes the result of a change. A nil Refusal forgets it.
func (r *Refusal) note(err error) {
	if r == nil {
		return
	}
	if err == nil {
		r.text.Store(nil)
		return
	}
	first, rest, _ := strings.Cut(err.Error(), "\n")
	text := "configuration refused, the last good one stays: " + first
	if rest != "" {
		text += fmt.Sprintf(" (and %d more)", 1+strings.Count(rest, "\n"))
	}
	r.text.Store(&text)
}

// Degraded returns what to tell an operator, nothing when all is well.
func (r *Refusal) Degraded() []string {
	if text := r.text.Load(); text != nil {
		return []string{*text}
	}
	return nil
}
