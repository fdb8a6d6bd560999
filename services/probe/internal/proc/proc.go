// SPDX-License-Identifier: Apache-2.0

// Package proc knows the processes of a node: what program each one runs, in which language, in which container, and what its
// environment says about its name.
//
// Knowledge comes from two places. The kernel's records of exec, fork and exit tell at once and in order; /proc tells the
// rest, as long as the process lives. What a process that is already gone can no longer tell is taken from its exec record, and
// from its parent where a child takes after it (container, host name). Reading /proc of somebody else's process is reading
// hostile input: every file is read up to a bound, and nothing is opened through a path that the process controls.
package proc

import (
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/sdk"
)

// Process is one run of one program on this node.
type Process struct {
	// Info is shared with batches that are being encoded and therefore never changed: who learns more replaces it.
	Info *eventv1.Process
	// SDK is where its environment tells a telemetry SDK to export to; Settle looks it up.
	SDK sdk.Environment
	// ended is when the process exited; zero while it lives.
	ended time.Time
	// settled is set once Settle has looked a second time.
	settled bool
}

// PID returns the process id in the initial pid namespace.
func (p *Process) PID() uint32 { return p.Info.GetPid() }

// Ended tells whether the process has exited.
func (p *Process) Ended() bool { return !p.ended.IsZero() }

// Exec is what the kernel says about an exec. Byte slices are only read during the call.
type Exec struct {
	PID, Parent uint32
	BootNanos   uint64 // time of the exec since boot, suspend included
	StartNanos  uint64 // start of the process since boot, suspend included
	Filename    []byte // as passed to execve
	Command     []byte
	Environment []byte // beginning of the environment area, "NAME=value\0..."
	EnvCut      bool   // the environment area was longer than its capture
}

// Fork is what the kernel says about a new process that runs its parent's program.
type Fork struct {
	PID, Parent uint32
	StartNanos  uint64 // start of the process since boot, suspend included
}
