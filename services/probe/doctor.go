// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"io"
	"strings"

	"github.com/busbar/busbar/services/probe/internal/kern"
)

// Report says what this machine and the privileges of this process allow the probe.
type Report struct {
	Host Host `json:"host"`
	// Tier is the one that the probe would use; empty if it cannot run at all.
	Tier string `json:"tier"`
	// Tiers are all there are, the best one first.
	Tiers []Tier `json:"tiers"`
	// Missing says in words what will not work, and why.
	Missing []string `json:"missing"`
}

// Tier is a set of hooks around the same core.
type Tier struct {
	Name   string `json:"name"`
	Works  bool   `json:"works"`
	Reason string `json:"reason,omitempty"` // why it does not
	Hooks  []Hook `json:"hooks"`
}

// Hook is a place in the kernel where a program of the probe runs.
type Hook struct {
	Name   string `json:"name"`
	Works  bool   `json:"works"`
	Reason string `json:"reason,omitempty"` // why it does not
	Use    string `json:"use"`              // what is missing without it
}

// Doctor finds out what the probe may do here. It loads nothing that stays and attaches nothing.
func Doctor(cfg Config) Report {
	return Report{Host: inspect(cfg.ProcRoot)}
}

// Write writes the report for people to read.
func (r *Report) Write(w io.Writer) error {
	_, err := fmt.Fprintln(w, strings.Join(r.Missing, "\n"))
	return err
}

var _ = kern.TierAuto
