// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// logger passes what the server says to slog, one level lower than the server has it: its notices are its own diary. It
// keeps the first fatal message, by which the server tells that it could not start.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	death error
}

func newLogger(log *slog.Logger) *logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &logger{log: log}
}

func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug("nats server", "text", text(format, v))
}
func (l *logger) Warnf(format string, v ...any)  { l.log.Info("nats server", "text", text(format, v)) }
func (l *logger) Errorf(format string, v ...any) { l.log.Warn("nats server", "text", text(format, v)) }
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.death == nil {
		l.death = errors.New(text(format, v))
	}
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.death
}

func text(format string, v []any) string { return fmt.Sprintf(format, v...) }
