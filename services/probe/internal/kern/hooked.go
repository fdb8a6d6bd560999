// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hookedFile is a file whose functions are hooked. Each hook takes the kernel a while, and processes go on meanwhile, so the programs
// do nothing until all of the file's hooks are there: its number, which they are told, is in map `hooked` from then on.
type hookedFile struct {
	exe    *link.Executable
	number uint64
	since  *ebpf.Map
	hooks  []link.Link
}

// openFile prepares a file to be hooked.
func (k *Kern) openFile(path string) (*hookedFile, error) {
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return nil, err
	}
	return &hookedFile{exe: exe, number: k.files.Add(1), since: k.maps["hooked"]}, nil
}

// hook has a program run where the function of this name is entered, or where it returns; at is where in the file it begins.
func (f *hookedFile) hook(p *ebpf.Program, name string, at uint64, returns bool) error {
	attach := f.exe.Uprobe
	if returns {
		attach = f.exe.Uretprobe
	}
	o := &link.UprobeOptions{Address: at, Cookie: f.number}
	l, err := attach(name, p, o)
	if errors.Is(err, ebpf.ErrNotSupported) { // before 5.15, where the programs do not wait either
		o.Cookie = 0
		l, err = attach(name, p, o)
	}
	if err != nil {
		return err
	}
	f.hooks = append(f.hooks, l)
	return nil
}

// begin lets the programs work.
func (f *hookedFile) begin() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	if err := f.since.Put(f.number, uint64(now.Nano())); err != nil { //nolint:gosec // after boot
		return fmt.Errorf("begin with hooks of a file: %w", err)
	}
	return nil
}

// Close takes the hooks away, all at the same time: for each the kernel waits until nobody can be in its program any more.
func (f *hookedFile) Close() error {
	_ = f.since.Delete(f.number) // not there if it never began
	errs := make([]error, len(f.hooks))
	var all sync.WaitGroup
	for i, one := range f.hooks {
		all.Go(func() { errs[i] = one.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
