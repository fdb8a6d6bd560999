// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
)

// loadsMax bounds how many programs are verified at a time: each takes the kernel up to 15 MiB meanwhile.
const loadsMax = 4

// loadObjects loads objects and says of each why the kernel refuses it. What they have in common with each other and with those
// before, they share. The kernel takes long to verify a program, so several are loaded at a time.
func (k *Kern) loadObjects(objects []object, o Options) []error {
	errs := make([]error, len(objects))
	specs := make([]*ebpf.CollectionSpec, len(objects))
	for i, object := range objects {
		specs[i], errs[i] = object.spec(o)
		if errs[i] == nil {
			errs[i] = k.makeMaps(specs[i])
		}
	}
	loads := make([]objectLoad, len(objects))
	room := make(chan struct{}, min(runtime.GOMAXPROCS(0), loadsMax))
	var all sync.WaitGroup
	for i, spec := range specs {
		if errs[i] != nil {
			continue
		}
		for name := range spec.Programs {
			all.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				p, err := k.loadProgram(spec, name, o)
				loads[i].add(name, p, err)
			})
		}
	}
	all.Wait()
	for i := range loads {
		l := &loads[i]
		if errs[i] = tooOld(errors.Join(errs[i], l.err)); errs[i] == nil {
			maps.Copy(k.programs, l.programs)
			continue
		}
		for _, p := range l.programs {
			_ = p.Close()
		}
	}
	return errs
}

// objectLoad is what has become of the programs of an object so far.
type objectLoad struct {
	mu       sync.Mutex
	programs map[string]*ebpf.Program
	err      error // the first one
}

func (l *objectLoad) add(name string, p *ebpf.Program, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil && l.err == nil:
		l.err = err
	case err == nil && l.programs == nil:
		l.programs = map[string]*ebpf.Program{name: p}
	case err == nil:
		l.programs[name] = p
	}
}

// makeMaps makes the maps of an object that no object before it has.
func (k *Kern) makeMaps(spec *ebpf.CollectionSpec) error {
	for name, m := range spec.Maps {
		if k.maps[name] != nil || private(name) {
			continue
		}
		made, err := ebpf.NewMap(m)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		k.maps[name] = made
	}
	return nil
}

// loadProgram loads a program of an object whose maps are there.
func (k *Kern) loadProgram(spec *ebpf.CollectionSpec, name string, o Options) (*ebpf.Program, error) {
	one := alone(spec, name)
	options := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}, Cache: types()}
	for name := range one.Maps {
		if m := k.maps[name]; m != nil {
			options.MapReplacements[name] = m
		}
	}
	if o.VerifierLog {
		options.Programs.LogLevel = ebpf.LogLevelInstruction
	}
	c, err := ebpf.NewCollectionWithOptions(one, options)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// alone returns an object without all its other programs.
func alone(spec *ebpf.CollectionSpec, name string) *ebpf.CollectionSpec {
	p := spec.Programs[name]
	return &ebpf.CollectionSpec{
		Maps: usedMaps(spec.Maps, p), Programs: map[string]*ebpf.ProgramSpec{name: p}, Variables: spec.Variables,
		Types: spec.Types, ByteOrder: spec.ByteOrder,
	}
}

// usedMaps returns the maps that programs use, and those with settings.
func usedMaps(specs map[string]*ebpf.MapSpec, programs ...*ebpf.ProgramSpec) map[string]*ebpf.MapSpec {
	references := map[string]bool{}
	for _, p := range programs {
		for _, ins := range p.Instructions {
			references[ins.Reference()] = true
		}
	}
	used := maps.Clone(specs)
	maps.DeleteFunc(used, func(name string, _ *ebpf.MapSpec) bool { return !references[name] && !private(name) })
	return used
}

// private tells whether a map belongs to one object: the one with its settings.
func private(name string) bool { return strings.HasPrefix(name, ".") }
