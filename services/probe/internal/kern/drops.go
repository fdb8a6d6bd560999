// SPDX-License-Identifier: Apache-2.0

package kern

import "github.com/cilium/ebpf/link"

// dropReasons names the counters of the kernel side, in the order of enum drop_reason in bpf/record.h. lost tells that a
// record is missing; the others make a record poorer.
func dropReasons() []dropReason {
	return []dropReason{
		{"ring_full", true},          // an exchange: user space is too slow
		{LostProcessRecord, true},    // a process record, for the same reason
		{"connection_state", true},   // data on a connection for which no state could be made
		{"call_state", true},         // a system call whose arguments could not be kept
		{"owner_state", false},       // a server exchange whose context could not be kept for the client exchanges it makes
		{"half_state", false},        // a client half that could not be kept for its server half
		{"read_fault", false},        // payload that could not be read
		{"gap", false},               // payload that passed no hook
		{"framing", false},           // a message whose end could not be followed
		{"unpaired_response", true},  // a response without a request
		{"pipelined_exchange", true}, // a request sent ahead without room, or whose response could not be told from others
		{"adoption", false},          // a client exchange made a root, for its server exchange has made too many or lasts too long
		{"tls_socket", true},         // plaintext of a TLS connection whose socket is not known
		{"window", false},            // payload that was not looked at, because all windows of the CPU were taken
	}
}

type dropReason struct {
	name string
	lost bool
}

// LostProcessRecord is the reason under which lost changes of processes are counted.
const LostProcessRecord = "ring_full_process"

// missedRuns is the reason for hooks that the kernel did not run, because one was running on that CPU already. Kernels before 6.7
// do not count those of kprobes.
const missedRuns = "hook_recursion"

// Drops returns how many records were lost in the kernel since Load, by reason. A counter never falls.
func (k *Kern) Drops() map[string]uint64 {
	counts := k.count(true)
	for name, p := range k.programs {
		if k.programs[name+"_again"] != nil {
			continue // the second one was there
		}
		if stats, err := p.Stats(); err == nil {
			counts[missedRuns] += stats.RecursionMisses
		}
	}
	for _, l := range k.links {
		counts[missedRuns] += missed(l)
	}
	return counts
}

// missed returns how often a kprobe was passed over before its program was asked, which the program does not know.
func missed(l link.Link) uint64 {
	info, err := l.Info()
	if err != nil {
		return 0 // not every kind of link is known to old kernels
	}
	event := info.PerfEvent()
	if event == nil || event.Kprobe() == nil {
		return 0
	}
	return event.Kprobe().Missed
}

// Blemishes returns how often, since Load, a record is poorer than it should be, by reason.
func (k *Kern) Blemishes() map[string]uint64 { return k.count(false) }

func (k *Kern) count(lost bool) map[string]uint64 {
	counts := map[string]uint64{}
	var perCPU []uint64
	for i, reason := range dropReasons() {
		if reason.lost != lost || k.maps["drops"].Lookup(uint32(i), &perCPU) != nil { //nolint:gosec // a small index
			continue
		}
		counts[reason.name] = 0
		for _, n := range perCPU {
			counts[reason.name] += n
		}
	}
	return counts
}
