// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// reasonOutOfOrder is the reason of samples that Prometheus has no place for any more, since it has newer ones.
const reasonOutOfOrder = "out_of_order"

// judge says what the failure of a hosted exporter means for the next attempt. Exporters themselves only know "permanent",
// which to them a wrong password is, too; so the answer of the back end decides, as far as it is known.
func judge(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*otlp.Error](err); ok {
		return e
	}
	f, ok := errors.AsType[*collector.Failure](err)
	if !ok {
		return &otlp.Error{Class: otlp.Unavailable, Err: err}
	}
	switch {
	case f.Answer != nil && !outage(err): // a part may have had no answer
		return judgeAnswer(f.Answer)
	case f.Status != nil && f.Status.Code() != codes.Unknown:
		return otlp.GRPCError(f.Status)
	case f.After > 0:
		return &otlp.Error{Class: otlp.Throttled, After: f.After, Err: err}
	}
	if e := judgeKafka(f); e != nil {
		return e
	}
	if e := judgeClickHouse(f); e != nil {
		return e
	}
	if f.Permanent && !outage(f) {
		// It blames what it was given: the data or the configuration. The message is kept, for somebody to look at.
		return &otlp.Error{Class: otlp.Refused, Err: err}
	}
	return &otlp.Error{Class: otlp.Unavailable, Err: err}
}

// outage tells errors of the network and of time.
func outage(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// judgeAnswer is for HTTP back ends.
func judgeAnswer(a *collector.Answer) *otlp.Error {
	e := otlp.HTTPError(a.Status, a.Header, string(a.Body))
	if e.Class == otlp.Invalid && a.Status == http.StatusBadRequest {
		for _, words := range []string{"out of order", "duplicate sample", "out of bounds", "too old sample"} {
			if strings.Contains(string(a.Body), words) {
				e.Reason = reasonOutOfOrder
			}
		}
	}
	return e
}

// judgeKafka knows the brokers' errors. Nil means that err is none.
func judgeKafka(err error) *otlp.Error {
	k, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		return nil
	}
	e := &otlp.Error{Class: otlp.Unavailable, Err: err}
	switch k.Code {
	case kerr.MessageTooLarge.Code, kerr.RecordListTooLarge.Code, kerr.InvalidRecord.Code, kerr.InvalidTimestamp.Code, kerr.CorruptMessage.Code:
		e.Class, e.Reason = otlp.Invalid, "kafka_"+strings.ToLower(k.Message)
	case kerr.TopicAuthorizationFailed.Code, kerr.ClusterAuthorizationFailed.Code, kerr.SaslAuthenticationFailed.Code,
		kerr.UnsupportedSaslMechanism.Code, kerr.UnknownTopicOrPartition.Code, kerr.InvalidTopicException.Code, kerr.PolicyViolation.Code,
		kerr.InvalidRequiredAcks.Code, kerr.TransactionalIDAuthorizationFailed.Code:
		e.Class = otlp.Refused
	}
	return e
}

// Error codes of ClickHouse, from its ErrorCodes.cpp.
var (
	clickHouseData = map[int32]bool{ //nolint:gochecknoglobals // a table
		6: true, 26: true, 27: true, 38: true, 41: true, 53: true, 69: true, 70: true, 117: true, 131: true, 349: true,
	}
	clickHouseRefusal = map[int32]bool{ //nolint:gochecknoglobals // a table
		16: true, 47: true, 60: true, 62: true, 81: true, 115: true, 164: true, 192: true, 193: true, 194: true, 195: true, 497: true, 516: true,
	}
)

// clickHouseText is how the client words an answer over HTTP.
var clickHouseText = regexp.MustCompile(`\[HTTP (\d+)\] response body: "(?:Code: (\d+)\.)?`)

// judgeClickHouse knows the server's exceptions: texts that cannot be parsed and types that do not fit are the data's fault;
// absent tables, columns, databases and users are the configuration's. Nil means that err is none.
func judgeClickHouse(err error) *otlp.Error {
	var code int32
	if x, ok := errors.AsType[*clickhouse.Exception](err); ok {
		code = x.Code
	} else if m := clickHouseText.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.ParseInt(m[2], 10, 32) // 0 when there is none
		status, _ := strconv.Atoi(m[1])
		if code = int32(n); code == 0 {
			e := otlp.HTTPError(status, nil, "")
			e.Err = err
			return e
		}
	} else {
		return nil
	}
	e := &otlp.Error{Class: otlp.Unavailable, Err: err}
	switch {
	case clickHouseData[code]:
		e.Class, e.Reason = otlp.Invalid, "clickhouse_"+strconv.Itoa(int(code))
	case clickHouseRefusal[code]:
		e.Class = otlp.Refused
	}
	return e
}

// startError says whether an exporter could not start because of its back end, or because of its configuration.
func startError(err error) error {
	for _, known := range []func(error) *otlp.Error{judgeKafka, judgeClickHouse} {
		if e := known(err); e != nil {
			return e
		}
	}
	if outage(err) {
		return &otlp.Error{Class: otlp.Unavailable, Err: err}
	}
	return err
}
