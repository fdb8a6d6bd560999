// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// logger passes what the server says to slog, one level lower than the server has it: its notices are its own diary. It
// keeps the first fatal message, by which the server tells that it could not start, and notes when the disk is full.
type logger struct {
	log  *slog.Logger
	full chan struct{} // has one when a write failed for want of room

	mu    sync.Mutex
	death error
}

func newLogger(log *slog.Logger) *logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &logger{log: log, full: make(chan struct{}, 1)}
}

func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug("nats server", "text", text(format, v))
}

func (l *logger) Warnf(format string, v ...any) { l.trouble(slog.LevelInfo, text(format, v)) }

func (l *logger) Errorf(format string, v ...any) { l.trouble(slog.LevelWarn, text(format, v)) }

func (l *logger) trouble(level slog.Level, text string) {
	if tellsOfFullDisk(text) {
		l.tellFull()
	}
	l.log.Log(context.Background(), level, "nats server", "text", text)
}

func (l *logger) tellFull() {
	select {
	case l.full <- struct{}{}:
	default: // it is known
	}
}

func (l *logger) Debugf(string, ...any) {}
func (l *logger) Tracef(string, ...any) {}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.death == nil {
		l.death = errors.New(text(format, v))
	}
}

// forget begins with another server.
func (l *logger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.death = nil
	select {
	case <-l.full:
	default:
	}
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.death
}

func text(format string, v []any) string { return fmt.Sprintf(format, v...) }
