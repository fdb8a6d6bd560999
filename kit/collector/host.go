// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
)

// witness is the extension under which components find the HTTP middleware that notes answers. An exporter that takes
// middlewares has it among its Fixed settings: [Witness].
const witness = "busbar"

// Witness is the value of a setting "middlewares" with which the answers of a back end come with the errors of its exporter.
func Witness() []any { return []any{map[string]any{"id": witness}} }

// host is what components see of the program around them.
type host struct{}

// GetExtensions implements component.Host.
func (host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{component.MustNewID(witness): middleware{}}
}

// Answer is what a back end said to the last request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // its beginning
}

// maxAnswer is how many bytes of the body of an answer are kept.
const maxAnswer = 4 << 10

// noteKey is the key of a *Answer in the context of a request.
type noteKey struct{}

// middleware notes the answers to requests in whose context there is a place for them.
type middleware struct {
	component.StartFunc
	component.ShutdownFunc
}

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (middleware) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(_ context.Context, next http.RoundTripper) (http.RoundTripper, error) { return noting{next}, nil }, nil
}

type noting struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(r)
	if place, ok := r.Context().Value(noteKey{}).(*notes); ok && err == nil && response.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what was read is what there is
		place.add(Answer{Status: response.StatusCode, Header: response.Header, Body: body})
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), response.Body), response.Body}
	}
	return response, err
}
