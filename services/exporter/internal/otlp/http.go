// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
)

// HTTPConfig says where and how an [HTTP] sender posts.
type HTTPConfig struct {
	URLs        map[subject.Signal]string // absolute, with the path
	Header      http.Header               // of every request; its Host, if any, is the host the request names
	Compression Compression
	Timeout     time.Duration // of one attempt, from dialling to the end of the answer
	TLS         *tls.Config   // nil for the defaults
	UserAgent   string
}

// HTTP sends over OTLP/HTTP with protobuf bodies. Close it to let go of its connections.
type HTTP struct {
	cfg        HTTPConfig
	transport  *http.Transport
	compressor compressor
}

const (
	contentProtobuf = "application/x-protobuf"
	contentJSON     = "application/json"

	dialTimeout   = 5 * time.Second
	idleTimeout   = 90 * time.Second
	idleConns     = 16
	maxHTTPAnswer = 64 << 10 // bytes of an answer that are read; no OTLP answer comes near
)

// NewHTTP returns a sender. It does not connect.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	compressor, err := newCompressor(cfg.Compression)
	if err != nil {
		return nil, err
	}
	return &HTTP{
		cfg:        cfg,
		compressor: compressor,
		transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     cfg.TLS,
			TLSHandshakeTimeout: dialTimeout,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: idleConns,
			IdleConnTimeout:     idleTimeout,
			DisableCompression:  true, // answers are a few bytes
		},
	}, nil
}

// Close closes the connections that are at rest.
func (h *HTTP) Close() { h.transport.CloseIdleConnections() }

// Send posts the request once. Redirects are not followed: they would carry credentials to a place nobody configured.
func (h *HTTP) Send(ctx context.Context, r Request) (Rejected, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	request, err := h.request(ctx, r)
	if err != nil {
		return Rejected{}, err
	}
	response, err := h.transport.RoundTrip(request)
	if err != nil {
		return Rejected{}, &Error{Class: Unavailable, Err: h.cause(ctx, request, err)}
	}
	defer response.Body.Close()
	// What is left of a longer answer closes the connection.
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHTTPAnswer))
	if err != nil && response.StatusCode/100 == 2 {
		return Rejected{}, &Error{Class: Unavailable, Err: fmt.Errorf("read answer: %w", h.cause(ctx, request, err))}
	}
	return h.answer(request, response, body)
}

func (h *HTTP) request(ctx context.Context, r Request) (*http.Request, error) {
	target, ok := h.cfg.URLs[r.Signal]
	if !ok {
		return nil, invalid("signal", "no endpoint for signal %q", r.Signal)
	}
	body, err := encode(h.compressor, r.Body)
	if err != nil {
		return nil, fmt.Errorf("compress request: %w", err)
	}
	// A bytes.Reader also gives the request its length, and GetBody for a repetition on another connection.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	header := request.Header
	header.Set("User-Agent", h.cfg.UserAgent)
	maps.Copy(header, h.cfg.Header)
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	if user := request.URL.User; user != nil && header.Get("Authorization") == "" {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	header.Set("Content-Type", contentProtobuf)
	if h.compressor != nil {
		header.Set("Content-Encoding", h.compressor.Type())
	}
	if r.ID != "" {
		header.Set(idempotencyKey, r.ID)
	}
	return request, nil
}

// cause words the error of an exchange that brought no answer.
func (h *HTTP) cause(ctx context.Context, r *http.Request, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %v", r.URL.Host, h.cfg.Timeout)
	}
	return err
}

// answer judges what the back end said.
func (h *HTTP) answer(request *http.Request, response *http.Response, body []byte) (Rejected, error) {
	content, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	code := response.StatusCode
	switch {
	case code/100 == 2 && content == contentProtobuf:
		rejected, _ := parseRejected(body) // accepted all the same
		return rejected, nil
	case code/100 == 2 && content == contentJSON:
		rejected, _ := parseRejectedJSON(body)
		return rejected, nil
	case code/100 == 2 && content == "text/html" && bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")):
		// The port of somebody's user interface takes everything and keeps nothing.
		return Rejected{}, &Error{Class: Refused, Err: fmt.Errorf("%s answers with a web page, which is no OTLP endpoint", request.URL.Path)}
	case code/100 == 2:
		return Rejected{}, nil
	case code/100 == 3:
		where := ""
		if to, err := response.Location(); err == nil {
			where = "redirects to " + to.Scheme + "://" + to.Host + to.Path
		}
		return Rejected{}, httpError(code, response.Header, where)
	case content == contentProtobuf:
		return Rejected{}, httpError(code, response.Header, clip(parseStatusMessage(body)))
	case strings.HasPrefix(content, "text/html"):
		return Rejected{}, httpError(code, response.Header, "")
	default:
		return Rejected{}, httpError(code, response.Header, clip(string(body)))
	}
}
