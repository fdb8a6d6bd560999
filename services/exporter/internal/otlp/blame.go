// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/contract/subject"
)

// Blame returns the error of an attempt, or that of the request itself if the back end blamed itself for a request that nobody
// can decode, as gRPC servers do. It looks inside only then.
func Blame(r Request, err error) error {
	e := AsError(err)
	if e.Class != Unavailable {
		return err
	}
	if fault := r.decode(); fault != nil {
		return invalid("undecodable", "decode %s: %w; the answer was: %w", r.Signal, fault, e)
	}
	return err
}

func (r Request) decode() error {
	switch r.Signal {
	case subject.Traces:
		return ptraceotlp.NewExportRequest().UnmarshalProto(r.Body)
	case subject.Metrics:
		return pmetricotlp.NewExportRequest().UnmarshalProto(r.Body)
	case subject.Logs:
		return plogotlp.NewExportRequest().UnmarshalProto(r.Body)
	}
	return fmt.Errorf("unknown signal %q", r.Signal)
}
