// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of what is read from one file of /proc.
const (
	maxSmallFile = 16 << 10
	maxEnviron   = 256 << 10
	maxMaps      = 4 << 20
	maxEnvValue  = 4 << 10
)

// readBounded returns at most the first limit bytes of a file.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// stat is the part of /proc/PID/stat that is of use.
type stat struct {
	command   string
	parent    uint32
	bootNanos uint64 // start since boot, in whole ticks
}

func readStat(dir string) (stat, error) {
	data, err := readBounded(dir+"/stat", maxSmallFile)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(data)
	if err != nil {
		return stat{}, fmt.Errorf("parse %s/stat: %w", dir, err)
	}
	return s, nil
}

var errStat = errors.New("not the line of a process")

// parseStat reads "PID (command) state ppid ...": the command may hold anything, parentheses and spaces too.
func parseStat(data []byte) (stat, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return stat{}, errStat
	}
	const parent, start = 1, 19 // after the command: fields 4 and 22 of proc_pid_stat(5)
	fields := bytes.Fields(data[end+1:])
	if len(fields) <= start {
		return stat{}, errStat
	}
	ppid, err := strconv.ParseUint(string(fields[parent]), 10, 32)
	if err != nil {
		return stat{}, errStat
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return stat{}, errStat
	}
	return stat{command: clean(data[open+1 : end]), parent: uint32(ppid), bootNanos: ticks * tick}, nil
}

// readExecutable returns the path of the program as the process sees it.
func readExecutable(dir string) (string, error) {
	path, err := os.Readlink(dir + "/exe")
	if err != nil {
		return "", err
	}
	return clean([]byte(strings.TrimSuffix(path, " (deleted)"))), nil
}

// environment is what a process says about its own name.
type environment struct {
	serviceName, resourceAttributes, hostName string
}

// parseEnviron looks for the variables of interest in an environment area. The first of two equal names counts, as it does for
// getenv. With cut set the last entry may lack its end and is left out.
func parseEnviron(data []byte, cut bool) environment {
	var e environment
	for len(data) > 0 {
		entry, rest, ended := bytes.Cut(data, []byte{0})
		data = rest
		if cut && !ended {
			break
		}
		name, value, ok := bytes.Cut(entry, []byte{'='})
		if !ok || len(value) == 0 || len(value) > maxEnvValue {
			continue
		}
		switch string(name) {
		case "OTEL_SERVICE_NAME":
			setOnce(&e.serviceName, value)
		case "OTEL_RESOURCE_ATTRIBUTES":
			setOnce(&e.resourceAttributes, value)
		case "HOSTNAME":
			setOnce(&e.hostName, value)
		}
	}
	return e
}

func setOnce(s *string, value []byte) {
	if *s == "" {
		*s = clean(value)
	}
}

// hostName returns the host name in the UTS namespace of a process, or "" when it is the node's. fallback is what the process's
// environment says; it counts where the namespace may not be entered.
func (t *Table) hostName(dir, fallback string) string {
	theirs, err := os.Readlink(dir + "/ns/uts")
	if err != nil || theirs == t.uts {
		return ""
	}
	answer := make(chan string, 1)
	go func() { answer <- utsName(dir + "/ns/uts") }()
	name := <-answer
	if name == "" {
		name = fallback
	}
	if name == t.cfg.Node {
		return ""
	}
	return name
}

// utsName enters a UTS namespace, asks for its name and comes back. It needs a goroutine of its own: if the way back were
// barred, the goroutine ends with its thread still locked, and the runtime throws that thread away.
func utsName(path string) string {
	target, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(target)
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return ""
	}
	defer unix.Close(own)
	if err := unix.Setns(target, unix.CLONE_NEWUTS); err != nil {
		runtime.UnlockOSThread()
		return ""
	}
	var u unix.Utsname
	asked := unix.Uname(&u)
	if unix.Setns(own, unix.CLONE_NEWUTS) == nil {
		runtime.UnlockOSThread()
	}
	if asked != nil {
		return ""
	}
	return clean([]byte(unix.ByteSliceToString(u.Nodename[:])))
}

// clean makes a valid string of bytes that a process chose: protobuf strings must be UTF-8.
func clean(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
