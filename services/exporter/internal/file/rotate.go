// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Rotation says when a file is put aside and how long it is kept. A file put aside has the time in its name:
// data-2026-01-02T15-04-05.000.json.
type Rotation struct {
	MaxBytes   int64
	MaxAge     time.Duration // 0 keeps files of any age
	MaxBackups int           // 0 keeps any number
	LocalTime  bool          // in names; otherwise UTC
}

// stampLayout is that of the Collector's exporter.
const stampLayout = "2006-01-02T15-04-05.000"

// rotate puts the file aside and begins a new one. On an error the file is as it was, or broken. mu is held.
func (f *File) rotate() error {
	if err := f.file.Sync(); err != nil {
		f.broken = fmt.Errorf("sync %s: %w", f.options.Path, cause(err))
		return f.broken
	}
	aside, err := f.free(time.Now())
	if err == nil {
		err = os.Rename(f.options.Path, aside)
	}
	if err != nil {
		return fmt.Errorf("put %s aside: %w", f.options.Path, cause(err))
	}
	old := f.file
	if err := f.open(); err != nil {
		f.broken = err
		return err
	}
	_ = old.Close()          // it is synced
	_ = f.remove(time.Now()) // what is kept too long hurts less than what is not written
	return nil
}

// free returns a name that no file has.
func (f *File) free(now time.Time) (string, error) {
	prefix, ext := f.parts()
	if !f.options.Rotation.LocalTime {
		now = now.UTC()
	}
	for {
		name := prefix + now.Format(stampLayout) + ext
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		now = now.Add(time.Millisecond)
	}
}

// parts returns what stands before and after the time in names.
func (f *File) parts() (prefix, ext string) {
	ext = filepath.Ext(f.options.Path)
	return strings.TrimSuffix(f.options.Path, ext) + "-", ext
}

// remove removes files that were put aside and are too many or too old.
func (f *File) remove(now time.Time) error {
	type backup struct {
		name string
		at   time.Time
	}
	var backups []backup
	prefix, ext := f.parts()
	entries, err := os.ReadDir(filepath.Dir(f.options.Path))
	if err != nil {
		return err
	}
	location := time.UTC
	if f.options.Rotation.LocalTime {
		location = time.Local //nolint:gosmopolitan // asked for
	}
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(f.options.Path), e.Name())
		stamp, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), filepath.Clean(prefix))
		if at, err := time.ParseInLocation(stampLayout, stamp, location); ok && err == nil {
			backups = append(backups, backup{name, at})
		}
	}
	slices.SortFunc(backups, func(a, b backup) int { return cmp.Compare(b.at.UnixNano(), a.at.UnixNano()) })
	r := f.options.Rotation
	var errs []error
	for i, b := range backups {
		if r.MaxBackups > 0 && i >= r.MaxBackups || r.MaxAge > 0 && now.Sub(b.at) > r.MaxAge {
			errs = append(errs, os.Remove(b.name))
		}
	}
	return errors.Join(errs...)
}
