// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"io"
	"log/slog"
)

// Logger returns a logger that writes what is at least as grave as level to w, a record a line, as JSON if format is "json"
// and as text otherwise.
func Logger(w io.Writer, level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
