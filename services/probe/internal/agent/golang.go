// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/goexe"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// maxGoPrograms bounds what is remembered of executables. Beyond, they are read again, which takes milliseconds.
const maxGoPrograms = 1024

// goPrograms remembers Go executables, by file.
type goPrograms map[goFile]*goexe.Program

// goFile names the content of a file for as long as nobody rewrites it.
type goFile struct {
	name string // as /proc/PID/exe has it
	size int64
	time int64 // of its last change
}

// learnGo finds out where the goroutines of a process are, if it is a Go program, and has its functions hooked: before its first
// request, as a rule, for this happens when it has just begun.
func (a *Agent) learnGo(w *watched) {
	if w.learned || w.process.Info.GetLanguage() != eventv1.Language_LANGUAGE_GO {
		return
	}
	dir := filepath.Join(a.cfg.Proc.Root, strconv.FormatUint(uint64(w.process.PID()), 10))
	var err error
	w.goroutines, err = a.goPrograms.in(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, goexe.ErrNotGo) {
		return // it has ended, or is just becoming something else
	}
	w.learned = true
	if err != nil {
		w.lost = true
		a.cfg.Log.Info("goroutines are not followed", slog.Uint64("pid", uint64(w.process.PID())), slog.String("reason", err.Error()))
		return
	}
	if a.cfg.Hooks != nil {
		a.cfg.Hooks.Look(w.process.PID())
	}
}

// in returns where the goroutines of a process are, whose folder of procfs is given.
func (g goPrograms) in(dir string) (kern.Goroutines, error) {
	p, err := g.of(filepath.Join(dir, "exe"))
	if err != nil {
		return kern.Goroutines{}, err
	}
	counter, err := p.In(dir)
	if err != nil {
		return kern.Goroutines{}, err
	}
	o := p.Offsets
	return kern.Goroutines{ID: o.Goid, Parent: o.ParentGoid, P: o.P, Cache: o.GoidCache, Counter: counter}, nil
}

// of reads an executable, unless it is known. The link reaches the very file that runs, in any mount namespace.
func (g goPrograms) of(link string) (*goexe.Program, error) {
	f, err := os.Open(link)
	if err != nil {
		return nil, fmt.Errorf("read executable: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read executable: %w", err)
	}
	name, _ := os.Readlink(link)
	file := goFile{name, info.Size(), info.ModTime().UnixNano()}
	if p := g[file]; p != nil {
		return p, nil
	}
	p, err := goexe.Read(f)
	if err != nil {
		return nil, err
	}
	if len(g) >= maxGoPrograms {
		clear(g)
	}
	g[file] = p
	return p, nil
}
