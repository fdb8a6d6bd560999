// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"

	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/probe"
)

// diagnosis is what `busbar doctor` finds.
type diagnosis struct {
	Probe     probe.Report `json:"probe"`
	Addresses []finding    `json:"addresses"` // those that `busbar up` would listen on
	DataDir   finding      `json:"dataDir"`
}

// finding is one thing that `busbar up` needs.
type finding struct {
	Name   string `json:"name"` // address or path
	Flag   string `json:"flag"` // that changes it
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not
}

// doctor tells what `busbar up` would find here, and changes nothing.
func doctor(ctx context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
	var at place
	fs := run.NewFlags("busbar doctor", "tells what this kernel and these privileges allow", "", stdout)
	at.register(fs, env)
	asJSON := fs.Bool("json", false, "print JSON, for programs")
	if err := run.Parse(fs, args, env); err != nil {
		return err
	}
	d := diagnosis{Probe: probe.Doctor(probe.Default()), Addresses: []finding{}, DataDir: writable(at.dataDir)}
	for _, l := range at.addresses() {
		d.Addresses = append(d.Addresses, free(ctx, l))
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(d)
	}
	return d.write(stdout)
}

func (d *diagnosis) write(w io.Writer) error {
	if err := d.Probe.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nbusbar up")
	for _, a := range d.Addresses {
		fmt.Fprintf(w, "  %-14s %-22s %s\n", a.Flag, a.Name, a.verdict("free"))
	}
	_, err := fmt.Fprintf(w, "  %-14s %-22s %s\n", d.DataDir.Flag, d.DataDir.Name, d.DataDir.verdict("writable"))
	return err
}

func (f finding) verdict(good string) string {
	if f.OK {
		return good
	}
	return f.Reason
}

// free finds out whether an address can be listened on.
func free(ctx context.Context, l listener) finding {
	f := finding{Name: l.address, Flag: l.flag}
	err := vacant(ctx, l.address)
	switch {
	case err == nil:
		f.OK = true
	case errors.Is(err, syscall.EADDRINUSE):
		f.Reason = "in use, perhaps by a Busbar that runs already"
	default:
		f.Reason = err.Error()
	}
	return f
}

// vacant returns why an address cannot be listened on.
func vacant(ctx context.Context, address string) error {
	port, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	_ = port.Close() // nothing was accepted
	return nil
}

// writable finds out whether files can be made in a folder, or the folder itself where it does not exist yet.
func writable(dir string) finding {
	const write = 2 // W_OK of access(2)
	f := finding{Name: dir, Flag: "--data-dir"}
	place := filepath.Clean(dir)
	err := syscall.Access(place, write)
	for errors.Is(err, fs.ErrNotExist) && place != filepath.Dir(place) {
		place = filepath.Dir(place)
		err = syscall.Access(place, write)
	}
	if err != nil {
		f.Reason = fmt.Sprintf("not writable: %s: %v", place, err)
		return f
	}
	f.OK = true
	return f
}
