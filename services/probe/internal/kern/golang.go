// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"io"
)

// Goroutines tell where the goroutines of a process keep their ids; offsets are in bytes. The zero value: not known, and no exchange
// is attributed to a goroutine.
type Goroutines struct {
	ID      uint16 // offset in runtime.g
	Parent  uint16 // the same; 0: this version of Go does not keep it
	P       uint16 // offset in runtime.m
	Cache   uint16 // offset in runtime.p
	Counter uint64 // address in the process; 0: not known
}

// wordSize is the unit of offsets that struct proc keeps in one byte.
const wordSize = 8

func (g Goroutines) put(p *proc) {
	if g.ID == 0 {
		return
	}
	p.flags |= procGo
	p.goid, p.parentGoid, p.goidGen = g.ID, g.Parent, g.Counter
	p.mP, p.goidCache = uint8(g.P/wordSize), uint8(g.Cache/wordSize) //nolint:gosec // the runtime's structures are not as large
}

// GoFuncs are functions of a Go program to be hooked, by offset in its file.
type GoFuncs struct {
	RoundTrip uint64 // net/http.(*persistConn).roundTrip; 0: not there
	TLSWrite  uint64 // crypto/tls.(*Conn).Write; the same
	TLSRead   uint64 // crypto/tls.(*Conn).Read; the same
	TLSCopy   uint64 // where that calls runtime.memmove
	TLSClose  uint64 // crypto/tls.(*Conn).Close; 0: not there
}

// HookGo hooks functions of a Go program until the result is closed, in every process that runs the file. They do their work only in
// processes that are observed.
func (k *Kern) HookGo(path string, f GoFuncs) (_ io.Closer, err error) {
	file, err := k.openFile(path)
	if err != nil {
		return nil, fmt.Errorf("hook Go program: %w", err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	for _, h := range f.hooks() {
		p := k.programs[h.program]
		if p == nil {
			return nil, fmt.Errorf("hook Go program: %s is not loaded", h.program)
		}
		if err := file.hook(p, h.program, h.at, false); err != nil {
			return nil, fmt.Errorf("hook Go program: %w", err)
		}
	}
	if err := file.begin(); err != nil {
		return nil, err
	}
	return file, nil
}

type goHook struct {
	program string
	at      uint64
}

// hooks lists what to attach where.
func (f GoFuncs) hooks() []goHook {
	var hooks []goHook
	if f.RoundTrip != 0 {
		hooks = append(hooks, goHook{"on_round_trip", f.RoundTrip})
	}
	if f.TLSWrite == 0 || f.TLSRead == 0 || f.TLSCopy == 0 {
		return hooks
	}
	if f.TLSClose != 0 {
		hooks = append(hooks, goHook{"on_tls_close", f.TLSClose})
	}
	return append(hooks, goHook{"on_tls_copy", f.TLSCopy}, goHook{"on_tls_read", f.TLSRead}, goHook{"on_tls_write", f.TLSWrite})
}
