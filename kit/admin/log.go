// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"io"
	"log/slog"
)

// Logger returns a logger that writes lines to w. Level is debug, info, warn or error; format is text or json; empty
// means info and text.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var options slog.HandlerOptions
	if level != "" {
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("log level %q is not one of debug, info, warn, error", level)
		}
		options.Level = l
	}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, &options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &options)), nil
	}
	return nil, fmt.Errorf("log format %q is not one of text, json", format)
}
