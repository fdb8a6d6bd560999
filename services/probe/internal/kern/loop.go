// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/link"
)

// LoopFunction is where libuv handles what happens on a stream: all that a read causes is done when it returns. Its address is
// taken there, so that it is never inlined.
const LoopFunction = "uv__stream_io"

// HookLoop hooks LoopFunction in a program until the result is closed; offset is where in the file it is. The processes that run
// the program are event loops from then on, whatever is decided about their threads.
func (k *Kern) HookLoop(path string, offset uint64) (io.Closer, error) {
	p := k.programs["on_tick_end"]
	if p == nil {
		return nil, errors.New("hook event loop: its program is not loaded")
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return nil, fmt.Errorf("hook event loop: %w", err)
	}
	l, err := exe.Uretprobe(LoopFunction, p, &link.UprobeOptions{Address: offset})
	if err != nil {
		return nil, fmt.Errorf("hook event loop: %w", err)
	}
	return l, nil
}
