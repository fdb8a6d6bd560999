// SPDX-License-Identifier: Apache-2.0

package fcgihead_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/services/probe/internal/fcgihead"
)

// told is what fcgihead.Parse says, with strings, for tables.
type told struct {
	Method, Path, Host, UserAgent string
	Minor                         uint8
	Truncated                     bool
	Status                        uint16
}

// param encodes a parameter as the kernel does.
func param(id byte, value string) string { return string([]byte{id, byte(len(value))}) + value }

func parse(params, stdout string) (told, bool) {
	r, status, ok := fcgihead.Parse([]byte(params), []byte(stdout))
	return told{string(r.Method), string(r.Path), string(r.Host), string(r.UserAgent), r.Minor, r.PathTruncated, status}, ok
}

func TestParse(t *testing.T) {
	t.Parallel()
	get := param(1, "GET")
	for name, tt := range map[string]struct {
		params, stdout string
		want           told
	}{
		"nginx": {
			param(1, "POST") + param(3, "/index.php") + param(2, "/orders/7?token=secret#x") + param(7, "HTTP/1.0") + param(5, "user@shop:8080") + param(6, "curl/8"),
			"Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n",
			told{"POST", "/orders/7", "shop:8080", "curl/8", 0, false, 404},
		},
		"no URI":              {get + param(3, "/index.php") + param(4, "/7"), "X: y\r\n\r\n", told{Method: "GET", Path: "/index.php/7", Minor: 1, Status: 200}},
		"empty path info":     {get + param(4, "") + param(3, "/index.php"), "X: y\r\n\r\n", told{Method: "GET", Path: "/index.php", Minor: 1, Status: 200}},
		"absolute URI":        {get + param(2, "http://u:p@shop/a?b") + param(5, "other"), "", told{Method: "GET", Path: "/a", Host: "shop", Minor: 1}},
		"cut URI":             {get + param(2|0x80, "/aaa"), "", told{Method: "GET", Path: "/aaa", Minor: 1, Truncated: true}},
		"cut in the query":    {get + param(2|0x80, "/aaa?b"), "", told{Method: "GET", Path: "/aaa", Minor: 1}},
		"cut user and agent":  {get + param(2, "/") + param(5|0x80, "shop.exa") + param(6|0x80, "curl"), "", told{Method: "GET", Path: "/", Minor: 1}},
		"capture ends":        {get + "\x02\x09/aaa", "", told{Method: "GET", Path: "/aaa", Minor: 1, Truncated: true}},
		"status has no text":  {get + param(2, "/"), "content-type: x\nSTATUS:201\n\n", told{Method: "GET", Path: "/", Minor: 1, Status: 201}},
		"status behind head":  {get + param(2, "/"), "X: y\r\n\r\nStatus: 500\r\n", told{Method: "GET", Path: "/", Minor: 1, Status: 200}},
		"status is no number": {get + param(2, "/"), "Status: 4044\r\n\r\n", told{Method: "GET", Path: "/", Minor: 1, Status: 200}},
		"redirection":         {get + param(2, "/"), "Location: https://other/\r\n\r\n", told{Method: "GET", Path: "/", Minor: 1, Status: 302}},
		"redirection, status": {get + param(2, "/"), "Location: /x\r\nStatus: 307 x\r\n\r\n", told{Method: "GET", Path: "/", Minor: 1, Status: 307}},
		"unknown parameter":   {param(99, "x") + get + param(2, "/"), "", told{Method: "GET", Path: "/", Minor: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := parse(tt.params, tt.stdout)
			if diff := cmp.Diff(tt.want, got); !ok || diff != "" {
				t.Errorf("%t, -want +got\n%s", ok, diff)
			}
		})
	}
	for name, params := range map[string]string{
		"nothing": "", "no method": param(2, "/"), "empty method": param(1, ""), "no such method": param(1, "GET /"),
		"long method": param(1, strings.Repeat("A", 25)),
	} {
		if got, ok := parse(params, ""); ok {
			t.Errorf("%s gives %+v", name, got)
		}
	}
}

// FuzzParse: no capture breaks it, and no query, fragment or user information comes out.
func FuzzParse(f *testing.F) {
	f.Add([]byte(param(1, "GET")+param(2, "/a?b")+param(5, "u@h")+param(4, "/x")), []byte("Status: 404 x\r\n\r\n"))
	f.Add([]byte(param(1, "GET")+param(3, "/a")+param(4, "/b?c")), []byte("Location: x\n"))
	f.Fuzz(func(t *testing.T, params, stdout []byte) {
		r, status, ok := fcgihead.Parse(params, stdout)
		if !ok {
			return
		}
		if len(r.Method) == 0 || bytes.ContainsAny(r.Path, "?#") || bytes.ContainsAny(r.Host, "@?#/ ") || status != 0 && (status < 100 || status > 999) {
			t.Errorf("%q %q gives %+v, %d", params, stdout, r, status)
		}
	})
}
