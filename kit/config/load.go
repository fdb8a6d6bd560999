// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Bounds of what is read: a ConfigMap, the usual way in, holds 1 MiB.
const (
	maxFile  = 1 << 20
	maxFiles = 1000
)

// read returns the texts of files and folders, each once, and what could not be read.
func read(paths []string) ([]Source, Faults) {
	var sources []Source
	var faults Faults
	seen := map[string]bool{}
	add := func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		data, err := readFile(file)
		if err != nil {
			faults = append(faults, Fault{File: file, Reason: reason(err)})
			return
		}
		sources = append(sources, Source{Name: file, Data: data})
	}
	for _, path := range paths {
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			faults = append(faults, Fault{File: path, Reason: reason(err)})
		case !info.IsDir():
			add(path)
		default:
			files, err := folder(path)
			if err != nil {
				faults = append(faults, Fault{File: path, Reason: reason(err)})
			}
			for _, file := range files {
				add(file)
			}
		}
	}
	return sources, faults
}

// folder lists the documents of a folder. It does not look into folders below, and passes over hidden names: Kubernetes
// keeps the versions of a ConfigMap in them.
func folder(path string) ([]string, error) {
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		files = append(files, filepath.Join(path, name))
	}
	if len(files) > maxFiles {
		return nil, fmt.Errorf("holds more than %d files", maxFiles)
	}
	return files, nil
}

// readFile reads a regular file within maxFile. O_NONBLOCK keeps a named pipe from holding us up for ever.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, nil
}

// reason is an error without the operation and the path that the message around it names.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
