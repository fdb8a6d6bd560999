// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf/link"
)

// tickFunction is where libuv handles everything that happens on a stream; what a read causes is done when it returns. Its
// address is taken, so that it is never inlined.
const tickFunction = "uv__stream_io"

// ErrNoLoop says that a program has no event loop that can be watched: none, another one, or no symbols.
var ErrNoLoop = errors.New("no symbol " + tickFunction)

// WatchLoop follows the event loops of all processes that run the program in the file, until it is closed. Only then may a
// process be decided on as a Loop.
func (k *Kern) WatchLoop(file string) (io.Closer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	offset, err := symbolOffset(f, tickFunction)
	if err != nil {
		return nil, fmt.Errorf("find event loop of %s: %w", file, err)
	}
	if offset == 0 {
		return nil, fmt.Errorf("%s: %w", file, ErrNoLoop)
	}
	exe, err := link.OpenExecutable(file)
	if err != nil {
		return nil, fmt.Errorf("watch event loop: %w", err)
	}
	l, err := exe.Uretprobe(tickFunction, k.programs["on_tick_end"], &link.UprobeOptions{Address: offset})
	if err != nil {
		return nil, fmt.Errorf("watch event loop: %w", err)
	}
	return l, nil
}
