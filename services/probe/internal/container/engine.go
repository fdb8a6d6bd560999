// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"strings"

	"github.com/busbar/busbar/contract"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const maxAnswer = 1 << 20 // bytes

// engine is the API of Docker, which Podman has as well, on a unix socket.
type engine struct{ client http.Client }

func newEngine(socket string) *engine {
	var dialer net.Dialer
	return &engine{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, // questions are few
	}}}
}

// look asks for a container. A socket that is not there knows none.
func (e *engine) look(ctx context.Context, id string) (*eventv1.Container, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/containers/"+id+"/json", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for container: %w", err)
	}
	request.Header.Set("User-Agent", contract.UserAgent)
	response, err := e.client.Do(request)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("ask for container: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, errUnknown
	default:
		return nil, fmt.Errorf("ask for container: %s", response.Status)
	}
	return parseInspect(io.LimitReader(response.Body, maxAnswer))
}

// parseInspect reads the answer to GET /containers/ID/json.
func parseInspect(r io.Reader) (*eventv1.Container, error) {
	var c struct {
		Name   string
		Config struct {
			Image  string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return nil, fmt.Errorf("parse container: %w", err)
	}
	name := strings.TrimPrefix(c.Name, "/")
	if inPod := c.Config.Labels[labelContainer]; inPod != "" {
		name = inPod
	}
	if name == "" {
		return nil, errUnknown
	}
	// Compose gives the images that it builds the names of their project and service too, which says nothing about who runs them.
	if c.Config.Labels["com.docker.compose.container-number"] == "" {
		maps.DeleteFunc(c.Config.Labels, func(key, _ string) bool { return strings.HasPrefix(key, "com.docker.compose.") })
	}
	return &eventv1.Container{Name: name, Image: c.Config.Image, Labels: c.Config.Labels}, nil
}
