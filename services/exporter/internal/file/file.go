// SPDX-License-Identifier: Apache-2.0

// Package file appends records to a file that is rotated by size.
//
// A record is on disk when Append returns: it was written as a whole and the file was synced. Records that are appended at the
// same time share a sync. A record that was torn by the end of the process or of the machine, and so never was confirmed, is
// cut off when the file is opened again. One process may write a file at a time.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Options say how a file is kept.
type Options struct {
	Path     string
	Framing  Framing
	Rotation *Rotation   // nil for none
	DirMode  fs.FileMode // of the folder, which is made if this is not 0
}

// File is an open file. Append may be called by several goroutines.
type File struct {
	options Options

	mu      sync.Mutex // guards what follows
	file    *os.File
	size    int64
	written uint64 // records
	broken  error  // after which nothing can be said about what is on disk

	syncing sync.Mutex // held during a sync; taken before mu
	synced  uint64     // records that are on disk; guarded by syncing
}

// fileMode is what the Collector's exporter makes files with.
const fileMode = 0o644

// Open opens a file, or makes it. Close must follow.
func Open(o Options) (*File, error) {
	if o.DirMode != 0 {
		if err := os.MkdirAll(filepath.Dir(o.Path), o.DirMode); err != nil {
			return nil, fmt.Errorf("make folder of %s: %w", o.Path, cause(err))
		}
	}
	f := &File{options: o}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the file behind what is whole in it.
func (f *File) open() error {
	file, err := os.OpenFile(f.options.Path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.options.Path, cause(err))
	}
	size, err := f.options.Framing.whole(file)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(f.options.Path))
	}
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("prepare %s: %w", f.options.Path, cause(err))
	}
	f.file, f.size = file, size
	return nil
}

// syncFolder makes the name of a new file last.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// cause strips an error of the path that our own words name.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Append writes a record and returns when it is on disk. After an error of a sync all that follow fail: the file must be opened
// anew.
func (f *File) Append(record []byte) error {
	n, err := f.write(f.options.Framing.frame(record))
	if err != nil {
		return err
	}
	return f.sync(n)
}

// write writes a framed record and returns its number. What is written in part is taken back.
func (f *File) write(record []byte) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return 0, f.broken
	}
	if r := f.options.Rotation; r != nil && f.size > 0 && f.size+int64(len(record)) > r.MaxBytes {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	if _, err := f.file.WriteAt(record, f.size); err != nil {
		if cut := f.file.Truncate(f.size); cut != nil {
			f.broken = fmt.Errorf("cut a torn record of %s: %w", f.options.Path, cause(cut))
		}
		return 0, fmt.Errorf("write %s: %w", f.options.Path, cause(err))
	}
	f.size += int64(len(record))
	f.written++
	return f.written, nil
}

// sync returns when the n-th record is on disk.
func (f *File) sync(n uint64) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.synced >= n {
		return nil // by a neighbour's sync
	}
	f.mu.Lock()
	file, written, broken := f.file, f.written, f.broken
	f.mu.Unlock()
	if broken != nil {
		return broken
	}
	// A rotation syncs a file before it closes it.
	if err := file.Sync(); err != nil && !errors.Is(err, fs.ErrClosed) {
		err = fmt.Errorf("sync %s: %w", f.options.Path, cause(err))
		f.mu.Lock()
		f.broken = err
		f.mu.Unlock()
		return err
	}
	f.synced = written
	return nil
}

// Broken returns the error after which the file must be opened anew, if there was one.
func (f *File) Broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// Close closes the file. No Append may be under way.
func (f *File) Close() error { return f.file.Close() }
