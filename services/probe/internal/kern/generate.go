// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Generator writes made-up exchanges into the ring of a Kern, as its programs would: the load for a benchmark of what reads them.
type Generator struct {
	program *ebpf.Program
	sample  *ebpf.Map
}

// generateMax is the number of records the program writes in one run (RECORDS_MAX of bpf/bench.bpf.c).
const generateMax = 1024

// NewGenerator returns a Generator of records like e with these heads, which are cut at 512 and 256 bytes. Their times are those of
// their making, and each has another RequestSeq.
func (k *Kern) NewGenerator(e Exchange, request, response []byte) (_ *Generator, err error) {
	opts, err := Options{}.withDefaults()
	if err != nil {
		return nil, err
	}
	spec, err := object{name: "bench", load: loadBench}.spec(opts)
	if err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"ring": k.maps["ring"], "drops": k.maps["drops"]},
	})
	if err != nil {
		return nil, fmt.Errorf("load generator: %w", err)
	}
	defer c.Close()
	g := &Generator{program: c.DetachProgram("generate"), sample: c.DetachMap("sample")}
	request, response = request[:min(len(request), maxRequestWindow)], response[:min(len(response), maxResponseWindow)]
	e.kind, e.requestCaptured, e.responseCaptured = recordExchange, uint16(len(request)), uint16(len(response)) //nolint:gosec // cut
	raw := make([]byte, unsafe.Sizeof(e)+maxRequestWindow+maxResponseWindow)
	n := copy(raw, unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e)))
	n += copy(raw[n:], request)
	copy(raw[n:], response)
	if err := g.sample.Put(uint32(0), raw); err != nil {
		return nil, errors.Join(fmt.Errorf("set sample: %w", err), g.Close())
	}
	return g, nil
}

// Emit writes n records at once. Those the ring has no room for are counted, as always.
func (g *Generator) Emit(n int) error {
	for args := make([]byte, 4); n > 0; n -= generateMax {
		binary.NativeEndian.PutUint32(args, uint32(min(n, generateMax))) //nolint:gosec // small
		if _, err := g.program.Run(&ebpf.RunOptions{Context: args}); err != nil {
			return fmt.Errorf("run generator: %w", err)
		}
	}
	return nil
}

// Close frees the generator, not the Kern.
func (g *Generator) Close() error { return errors.Join(g.program.Close(), g.sample.Close()) }
