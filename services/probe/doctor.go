// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/busbar/busbar/services/probe/internal/hook"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// Report says what this machine and the privileges of this process allow the probe.
type Report struct {
	Host Host `json:"host"`
	// Tier is the one that the probe would use; empty if it cannot run at all.
	Tier string `json:"tier"`
	// Tiers are all there are, the best one first.
	Tiers []Tier `json:"tiers"`
	// UnseenTLS are the programs that run now and whose TLS, should they use any, is seen as encrypted connections only.
	UnseenTLS []UnseenTLS `json:"unseenTls"`
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

// UnseenTLS is a program with a TLS library that cannot be hooked.
type UnseenTLS struct {
	Executable string   `json:"executable"`
	PIDs       []uint32 `json:"pids"`
	Reason     string   `json:"reason"` // what encrypts inside it
}

// Doctor finds out what a probe with these settings may do here. It attaches nothing and leaves nothing behind.
func Doctor(cfg Config) Report {
	r := Report{Host: inspect(cfg.ProcRoot)}
	tiers, unmet := kern.Doctor()
	for _, t := range tiers {
		tier := Tier{Name: t.Name, Works: t.Works, Reason: t.Reason}
		for _, h := range t.Hooks {
			tier.Hooks = append(tier.Hooks, Hook(h))
		}
		r.Tiers = append(r.Tiers, tier)
		if t.Works && r.Tier == "" && (cfg.Tier == TierAuto || cfg.Tier == t.Name) {
			r.Tier = t.Name
		}
	}
	for _, u := range hook.FindUnseen(cfg.ProcRoot, kern.TLSFunctions()) {
		r.UnseenTLS = append(r.UnseenTLS, UnseenTLS(u))
	}
	r.Missing = append(r.missing(unmet), lostGo(cfg.ProcRoot)...)
	return r
}

// missing says in words what will not work. unmet is what no tier works without.
func (r *Report) missing(unmet error) []string {
	out := r.Host.missing()
	if unmet != nil {
		return out // the hooks fail for that reason, which the host's list has
	}
	if r.Tier == "" {
		out = append(out, "no tier works on this kernel: nothing can be observed")
	}
	for _, t := range r.Tiers {
		if t.Name != r.Tier {
			continue
		}
		for _, h := range t.Hooks {
			if !h.Works {
				out = append(out, fmt.Sprintf("%s: %s does not work: %s", h.Use, h.Name, h.Reason))
			}
		}
	}
	return out
}

// Write writes the report for people to read.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	h := &r.Host
	fmt.Fprintf(&b, "kernel          %s (%s)\n", h.Kernel, h.Architecture)
	fmt.Fprintf(&b, "BTF             %s\n", word(h.BTF, "yes", "no"))
	fmt.Fprintf(&b, "lockdown        %s\n", h.Lockdown)
	fmt.Fprintf(&b, "control groups  %s\n", h.Cgroups)
	fmt.Fprintf(&b, "pid namespace   %s\n", h.PIDNamespace)
	b.WriteString("\ncapabilities\n")
	for _, c := range h.Capabilities {
		fmt.Fprintf(&b, "  %s %s\n", word(c.Present, "yes", "no "), c.Name)
	}
	for _, t := range r.Tiers {
		fmt.Fprintf(&b, "\ntier %s: %s\n", t.Name, word(t.Works, word(t.Name == r.Tier, "works, would be used", "works"), "does not work"))
		for _, k := range t.Hooks {
			fmt.Fprintf(&b, "  %s %-26s %s\n", word(k.Works, "yes", "no "), k.Name, cmp.Or(firstLine(k.Reason), k.Use))
		}
	}
	if len(r.UnseenTLS) > 0 {
		b.WriteString("\nTLS that is seen as encrypted connections only\n")
	}
	for _, u := range r.UnseenTLS {
		fmt.Fprintf(&b, "  %s (%d running): %s\n", u.Executable, len(u.PIDs), u.Reason)
	}
	b.WriteString("\nmissing\n")
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "  %s\n", firstLine(m))
	}
	if len(r.Missing) == 0 {
		b.WriteString("  nothing\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func word(yes bool, ifYes, ifNo string) string {
	if yes {
		return ifYes
	}
	return ifNo
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
