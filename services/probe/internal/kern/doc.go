// SPDX-License-Identifier: Apache-2.0

// Package kern loads Busbar's BPF programs, attaches them and hands over what they find. It is the only user of
// cilium/ebpf.
//
// The kernel side does the pairing: one record is one finished HTTP exchange, or one change in the life of a process.
// Programs come in tiers, different hooks around the same core; Load picks the best one this kernel accepts, and
// Doctor says, without side effects, what it would pick and why not another. What the kernel could not keep is
// counted by reason, never lost in silence.
package kern
