// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"

	"github.com/busbar/busbar/contract"
	"github.com/busbar/busbar/services/probe/internal/fcgihead"
	"github.com/busbar/busbar/services/probe/internal/httphead"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/tlshead"
)

// Heads are what the captured beginnings of an exchange say. Slices point into the capture.
type Heads struct {
	httphead.Request        // of HTTP and FastCGI
	Status           uint16 // of these; 0 without a response

	ServerName []byte // of TLS: the name that the client asked for
	Version    uint16 // of TLS, as on the wire; 0 when it was not seen
}

// read reads the heads of an exchange, each protocol's with its own parser.
func (h *Heads) read(e *kern.Exchange, request, response []byte) Result {
	ok := false
	h.Status = e.Status
	switch e.Protocol {
	case kern.HTTP:
		h.Request, ok = httphead.ParseRequest(request)
	case kern.FastCGI:
		h.Request, h.Status, ok = fcgihead.Parse(request, response)
	case kern.TLS:
		h.ServerName, h.Version, ok = tlshead.Parse(request, response)
	}
	switch {
	case !ok:
		return Unparsed
	case e.Protocol != kern.TLS && bytes.HasPrefix(h.UserAgent, []byte(contract.UserAgent)):
		return Own
	}
	return Added
}
