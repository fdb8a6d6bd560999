// SPDX-License-Identifier: Apache-2.0

// Package hook keeps functions of libraries and executables hooked while processes use them.
//
// A hook belongs to a file, not to a process: one file is hooked once, for all that have it mapped now or later, in whichever
// container. Files are told apart by device and inode. They are found in the maps of a process that somebody asks about, opened
// through /proc, so that a container's own libraries are found, and left alone when no process has had them mapped for a while.
package hook

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is the interval at which it is checked which files are still mapped; one that is not twice in a row is let go.
	sweepEvery = 5 * time.Minute
	// maxQueue bounds how many processes wait to be looked at; one that finds no room is looked at when it is asked about again.
	maxQueue = 4096
	// maxFiles bounds what is remembered of files without anything to hook in them; beyond, they are looked at again.
	maxFiles = 4096
)

// Kind is what may be hooked in files.
type Kind struct {
	// Wanted tells whether to look into a file by its path as the process sees it; executable is that of the process itself.
	Wanted func(path string, executable bool) bool
	// Attach hooks a file that can be opened at path. It returns nil without an error if there is nothing to hook in it.
	Attach func(path string) (io.Closer, error)
}

// Hooks are the hooks of a node. Look may be called from any goroutine.
type Hooks struct {
	root   string // of procfs
	kinds  []Kind
	log    *slog.Logger
	queue  chan uint32
	hooked atomic.Int64
	caught atomic.Bool

	// Both belong to Run.
	files  map[fileID]*file
	mounts map[string]bool // mount namespaces whose libraries were looked for
}

// file is a file that was looked into.
type file struct {
	hooks  []io.Closer
	missed int  // sweeps since it was last mapped
	ahead  bool // hooked before anybody had it mapped, and kept
}

// New returns hooks of the given kinds; root is where procfs is mounted.
func New(root string, log *slog.Logger, kinds ...Kind) *Hooks {
	return &Hooks{root: root, kinds: kinds, log: log, queue: make(chan uint32, maxQueue), files: map[fileID]*file{}, mounts: map[string]bool{}}
}

// Look has the files of a process hooked, soon. It does not wait.
func (h *Hooks) Look(pid uint32) {
	select {
	case h.queue <- pid:
	default:
	}
}

// Files returns how many files are hooked.
func (h *Hooks) Files() int { return int(h.hooked.Load()) }

// Ready tells whether the processes that somebody had asked about when Run began have been looked at.
func (h *Hooks) Ready() bool { return h.caught.Load() }

// Run hooks what processes use until ctx ends; then it takes all hooks away.
func (h *Hooks) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	defer h.forgetAll()
	h.lookAhead(h.dir(1))
	for n := len(h.queue); n > 0 && ctx.Err() == nil; n-- {
		h.look(<-h.queue)
	}
	h.caught.Store(true)
	for {
		select {
		case <-ctx.Done():
			return nil
		case pid := <-h.queue:
			h.look(pid)
		case <-sweep.C:
			h.sweep()
		}
	}
}

func (h *Hooks) dir(pid uint32) string {
	return filepath.Join(h.root, strconv.FormatUint(uint64(pid), 10))
}

func (h *Hooks) look(pid uint32) {
	dir := h.dir(pid)
	mapped, err := mappings(dir)
	if err != nil {
		return // it has ended
	}
	for _, m := range h.open(dir, mapped) {
		h.attach(m.mapping, m.file, false)
	}
	h.lookAhead(dir)
}

// opened is a mapping with its file.
type opened struct {
	mapping
	file *os.File
}

// open opens what is not known yet, at once: when the process ends the files are out of reach. Those that are so already are left for
// the next process that has them mapped.
func (h *Hooks) open(dir string, mapped []mapping) (files []opened) {
	for _, m := range mapped {
		if f := h.files[m.id]; f != nil {
			f.missed = 0
			continue
		}
		if !h.wanted(m.path, m.executable) {
			continue
		}
		if f, err := os.Open(m.open(dir)); err == nil {
			files = append(files, opened{m, f})
		}
	}
	return files
}

func (h *Hooks) wanted(path string, executable bool) bool {
	return slices.ContainsFunc(h.kinds, func(k Kind) bool { return k.Wanted(path, executable) })
}

// attach hooks an open file for every kind that wants it, and closes it.
func (h *Hooks) attach(m mapping, from *os.File, ahead bool) {
	defer from.Close()
	if len(h.files) >= maxFiles {
		h.forgetEmpty()
	}
	f := &file{ahead: ahead}
	h.files[m.id] = f
	for _, k := range h.kinds {
		if !k.Wanted(m.path, m.executable) {
			continue
		}
		c, err := k.Attach("/proc/self/fd/" + strconv.FormatUint(uint64(from.Fd()), 10))
		switch {
		case err != nil:
			h.log.Warn("file not hooked", slog.String("file", m.path), slog.String("error", err.Error()))
		case c != nil:
			h.log.Info("file hooked", slog.String("file", m.path))
			f.hooks = append(f.hooks, c)
		}
	}
	if f.hooks != nil {
		h.hooked.Add(1)
	}
}

// sweep lets go of files that nobody has mapped any more.
func (h *Hooks) sweep() {
	used := map[fileID]bool{}
	dirs, err := filepath.Glob(filepath.Join(h.root, "[0-9]*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		mapped, err := mappings(dir)
		if err != nil {
			continue
		}
		for _, m := range mapped {
			used[m.id] = true
		}
	}
	for id, f := range h.files {
		if f.missed++; used[id] || f.ahead && f.hooks != nil {
			f.missed = 0
		}
		if f.missed > 1 {
			h.forget(id)
		}
	}
}

// forgetEmpty makes room for files that may have something to hook in them.
func (h *Hooks) forgetEmpty() {
	for id, f := range h.files {
		if f.hooks == nil {
			delete(h.files, id)
		}
	}
}

func (h *Hooks) forget(id fileID) {
	f := h.files[id]
	delete(h.files, id)
	if f.hooks != nil {
		h.hooked.Add(-1)
		h.unhook(f)
	}
}

// forgetAll takes all hooks away at the same time: it takes the kernel a while for each.
func (h *Hooks) forgetAll() {
	var all sync.WaitGroup
	for _, f := range h.files {
		all.Go(func() { h.unhook(f) })
	}
	all.Wait()
	clear(h.files)
	h.hooked.Store(0)
}

func (h *Hooks) unhook(f *file) {
	for _, c := range f.hooks {
		if err := c.Close(); err != nil {
			h.log.Warn("hook not taken away", slog.String("error", err.Error()))
		}
	}
}
