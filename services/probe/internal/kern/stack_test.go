// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What kernels before 6.13 leave a program and all that it calls together, and of how much each function takes a multiple.
const (
	stackMax  = 512
	stackStep = 32
)

// TestStack adds up the stack along every chain of calls, which newer kernels do not refuse when it is too long for older ones.
func TestStack(t *testing.T) {
	checked := 0
	for _, o := range append(slices.Concat(objectsOf(tiers())...), objects(extras())...) {
		if o.name == TierBTF {
			continue // for newer kernels only
		}
		for variant, load := range map[string]func() (*ebpf.CollectionSpec, error){"": o.load, " before 5.13": o.legacy} {
			if load == nil {
				continue
			}
			spec, err := load()
			if err != nil {
				t.Fatal(err)
			}
			for name, p := range spec.Programs {
				if variant != "" && needsNewer(name) {
					continue
				}
				checked++
				if depth, chain := stackDepth(stackFrames(p.Instructions), p.Instructions[0].Symbol()); depth > stackMax {
					t.Errorf("%s%s: %d bytes of stack: %s", o.name, variant, depth, chain)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d programs were looked at", checked)
	}
}

func objectsOf(tiers []tier) [][]object {
	var all [][]object
	for _, t := range tiers {
		all = append(all, t.objects)
	}
	return all
}

// needsNewer tells whether a program is loaded only where there is a tracepoint that is younger than 5.13.
func needsNewer(program string) bool {
	return slices.ContainsFunc(unixEntries(), func(h hook) bool { return h.program == program })
}

// stackFrame is a function: how much of the stack it uses, and what it calls.
type stackFrame struct {
	bytes int
	calls []string
}

// stackFrames takes a program apart into its functions.
func stackFrames(program asm.Instructions) map[string]*stackFrame {
	all := map[string]*stackFrame{}
	var f *stackFrame
	var copied [11]bool // registers that hold the frame pointer
	for _, ins := range program {
		if s := ins.Symbol(); s != "" {
			f, copied = &stackFrame{}, [11]bool{}
			all[s] = f
		}
		op := ins.OpCode
		switch {
		case ins.IsFunctionCall():
			f.calls = append(f.calls, ins.Reference())
		case op == asm.Mov.Op(asm.RegSource):
			copied[ins.Dst] = ins.Src == asm.RFP
			continue
		case op == asm.Add.Op(asm.ImmSource) && copied[ins.Dst]:
			f.bytes = max(f.bytes, int(-ins.Constant))
		case op.Class().IsLoad() && ins.Src == asm.RFP, op.Class().IsStore() && ins.Dst == asm.RFP:
			f.bytes = max(f.bytes, int(-ins.Offset))
		}
		if !op.Class().IsStore() && !op.Class().IsJump() {
			copied[ins.Dst] = false
		}
	}
	return all
}

// stackDepth returns the stack of a function with that of the deepest chain of calls below it.
func stackDepth(all map[string]*stackFrame, name string) (depth int, chain string) {
	f := all[name]
	for _, callee := range f.calls {
		if d, c := stackDepth(all, callee); d > depth {
			depth, chain = d, c
		}
	}
	own := (max(f.bytes, 1) + stackStep - 1) / stackStep * stackStep
	return own + depth, strings.TrimSuffix(fmt.Sprintf("%s %d, %s", name, f.bytes, chain), ", ")
}
