// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/exporter/internal/file"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// File is the settings of a file destination, with the keys that the Collector documents. Its exporter says yes before what it
// was given is on disk; ours does not, which is why it is ours.
type File struct {
	Path        string        `yaml:"path"`
	Format      string        `yaml:"format"`      // json or proto
	Compression string        `yaml:"compression"` // zstd or none; of each message
	Rotation    *FileRotation `yaml:"rotation"`
	Append      *bool         `yaml:"append"`
	CreateDir   bool          `yaml:"create_directory"`
	DirMode     string        `yaml:"directory_permissions"` // octal

	Flush    any `yaml:"flush_interval"`
	GroupBy  any `yaml:"group_by"`
	Encoding any `yaml:"encoding"`
	Queue    any `yaml:"sending_queue"`
	Retry    any `yaml:"retry_on_failure"`
}

// FileRotation says when the file is put aside.
type FileRotation struct {
	MaxMegabytes int  `yaml:"max_megabytes"` // 0 means 100
	MaxDays      int  `yaml:"max_days"`      // 0 means for ever
	MaxBackups   *int `yaml:"max_backups"`   // 0 means any number; absent 100
	LocalTime    bool `yaml:"localtime"`
}

const (
	defaultMegabytes = 100
	defaultBackups   = 100
	defaultDirMode   = 0o755
)

// NewFile returns the defaults.
func NewFile() *File { return &File{Format: "json"} }

func (f *File) into() any { return f }

func (f *File) check(at report) {
	checkPolicy(at, f.Queue, f.Retry)
	if f.Path == "" {
		at(".path", "missing: want the path of the file")
	}
	if f.Format != "json" && f.Format != "proto" {
		at(".format", "want json or proto, got %q", f.Format)
	}
	if f.Compression != "" && f.Compression != "none" && f.Compression != "zstd" {
		at(".compression", "want zstd or none, got %q", f.Compression)
	}
	if f.Append != nil && !*f.Append {
		at(".append", "a file is never begun anew: what was acknowledged stays in it; remove append")
	}
	if f.Flush != nil {
		at(".flush_interval", "a message is on disk before it is acknowledged; remove flush_interval")
	}
	if f.GroupBy != nil {
		at(".group_by", "one destination writes one file: let pipelines choose between destinations")
	}
	if f.Encoding != nil {
		at(".encoding", "there are no extensions here: want format json or proto")
	}
	if _, err := f.dirMode(); err != nil {
		at(".directory_permissions", "%v", err)
	}
	if r := f.Rotation; r != nil && (r.MaxMegabytes < 0 || r.MaxDays < 0 || r.MaxBackups != nil && *r.MaxBackups < 0) {
		at(".rotation", "limits are 0 or more")
	}
}

// dirMode returns the permissions of the folder, 0 if it is not to be made.
func (f *File) dirMode() (fs.FileMode, error) {
	switch {
	case !f.CreateDir && f.DirMode != "":
		return 0, errors.New("this needs create_directory: true")
	case !f.CreateDir:
		return 0, nil
	case f.DirMode == "":
		return defaultDirMode, nil
	}
	mode, err := strconv.ParseUint(f.DirMode, 8, 32)
	if err != nil || mode == 0 || fs.FileMode(mode)&^fs.ModePerm != 0 {
		return 0, fmt.Errorf("want permissions such as \"0755\", got %q", f.DirMode)
	}
	return fs.FileMode(mode), nil
}

func (f *File) texts() map[string]string { return map[string]string{".path": f.Path} }

func (f *File) resolved(texts map[string]string) exporter {
	c := *f
	c.Path = texts[".path"]
	return &c
}

func (f *File) open(_ context.Context, _ string, _ *slog.Logger) (sink, error) {
	o := file.Options{Path: f.Path}
	var err error
	if o.DirMode, err = f.dirMode(); err != nil {
		return nil, err
	}
	if f.Format == "proto" || f.Compression == "zstd" {
		o.Framing = file.Lengths
	}
	if r := f.Rotation; r != nil {
		o.Rotation = &file.Rotation{
			MaxBytes: defaultMegabytes << 20, MaxAge: time.Duration(r.MaxDays) * 24 * time.Hour, MaxBackups: defaultBackups, LocalTime: r.LocalTime,
		}
		if r.MaxMegabytes > 0 {
			o.Rotation.MaxBytes = int64(r.MaxMegabytes) << 20
		}
		if r.MaxBackups != nil {
			o.Rotation.MaxBackups = *r.MaxBackups
		}
	}
	s := &fileSink{proto: f.Format == "proto", failed: make(chan error, 1)}
	if f.Compression == "zstd" {
		if s.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	if s.file, err = file.Open(o); err != nil {
		return nil, err
	}
	return s, nil
}

// fileSink appends each message to a file.
type fileSink struct {
	file   *file.File
	proto  bool
	zstd   *zstd.Encoder // nil for none
	failed chan error    // gets the error after which the file must be opened anew
}

func (*fileSink) workers() int { return sendWorkers }

func (s *fileSink) run(ctx context.Context) error {
	defer s.file.Close()
	select {
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (s *fileSink) take(_ context.Context, r otlp.Request, _ int) (map[string]int, error) { //nolint:unparam // a taker
	record, err := s.record(r)
	if err != nil {
		return nil, err
	}
	if s.zstd != nil {
		record = s.zstd.EncodeAll(record, nil)
	}
	err = s.file.Append(record)
	if broken := s.file.Broken(); broken != nil {
		select {
		case s.failed <- broken:
		default: // told already
		}
	}
	if err != nil {
		return nil, &otlp.Error{Class: otlp.Unavailable, Err: err}
	}
	return nil, nil
}

// record returns what stands for a request in the file.
func (s *fileSink) record(r otlp.Request) ([]byte, error) {
	body, err := toJSON(r)
	if err != nil {
		return nil, undecodable(err)
	}
	if s.proto { // the same bytes, now that they are known to be OTLP
		return r.Body, nil
	}
	return body, nil
}

// toJSON translates a request into OTLP's JSON.
func toJSON(r otlp.Request) ([]byte, error) {
	switch r.Signal {
	case subject.Traces:
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return nil, err
		}
		return new(ptrace.JSONMarshaler).MarshalTraces(request.Traces())
	case subject.Metrics:
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return nil, err
		}
		return new(pmetric.JSONMarshaler).MarshalMetrics(request.Metrics())
	case subject.Logs:
		request := plogotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return nil, err
		}
		return new(plog.JSONMarshaler).MarshalLogs(request.Logs())
	}
	return nil, fmt.Errorf("no data of signal %q is known", r.Signal)
}
