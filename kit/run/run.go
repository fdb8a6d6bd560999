// SPDX-License-Identifier: Apache-2.0

// Package run is how a Busbar process starts and ends: signals, exit status, and parts that live and die together.
package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Func is a program. Its context ends at the first SIGINT or SIGTERM; it then drains and returns.
type Func func(ctx context.Context, args []string, env func(name string) string, stdout, stderr io.Writer) error

// Main runs program with the arguments after the command's name and exits:
// 0 when it returns nil, flag.ErrHelp, or the end of the context that a signal asked for; the error's status when it, or
// an error it wraps, has a method ExitStatus() int; 1 otherwise, after printing "name: error". A second signal exits at
// once with 130.
func Main(name string, program Func) {
	os.Exit(status(name, program, os.Args[1:], os.Stderr))
}

func status(name string, program Func, args []string, stderr io.Writer) int {
	ctx, stop := signals(context.Background())
	defer stop()
	return Status(name, program(ctx, args, os.Getenv, os.Stdout, stderr), stderr, ctx.Err() != nil)
}

// Status prints err, if it is worth it, and returns the exit status that Main documents. Asked tells that the program was
// asked to end.
func Status(name string, err error, stderr io.Writer, asked bool) int {
	if err == nil || errors.Is(err, flag.ErrHelp) || asked && errors.Is(err, context.Canceled) {
		return 0
	}
	if _, silent := errors.AsType[*silentError](err); !silent {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	if s, ok := errors.AsType[interface {
		error
		ExitStatus() int
	}](err); ok {
		return s.ExitStatus()
	}
	return 1
}

// Exit returns an error that makes Main exit with status and print nothing: all has been said.
func Exit(status int) error { return &silentError{status} }

type silentError struct{ status int }

func (e *silentError) Error() string   { return fmt.Sprintf("exit status %d", e.status) }
func (e *silentError) ExitStatus() int { return e.status }

// signals returns a context that ends at the first signal; the second one ends the process.
func signals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 2 {
			select {
			case <-received:
				if ctx.Err() != nil {
					os.Exit(130)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		close(done)
		<-ended
		cancel()
	}
}
