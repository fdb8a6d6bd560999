// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// tlsFunctions names the functions of TLS libraries that are hooked, and what runs at their entry and return. Their objects'
// ends are hooked so that a later object at the same address is not taken for the one before.
func tlsFunctions() map[string]tlsFunction {
	const leave = "tls_leave"
	return map[string]tlsFunction{
		"SSL_read":           {"openssl_read", leave},
		"SSL_read_ex":        {"openssl_read_ex", leave},
		"SSL_write":          {"openssl_write", leave},
		"SSL_write_ex":       {"openssl_write_ex", leave},
		"SSL_write_ex2":      {"openssl_write_ex2", leave},
		"SSL_do_handshake":   {"openssl_handshake", leave},
		"SSL_shutdown":       {"tls_shutdown", ""},
		"SSL_free":           {"tls_free", ""},
		"gnutls_record_recv": {"gnutls_read", leave},
		"gnutls_record_send": {"gnutls_write", leave},
		"gnutls_handshake":   {"gnutls_shake", leave},
		"gnutls_bye":         {"tls_shutdown", ""},
		"gnutls_deinit":      {"tls_free", ""},
	}
}

type tlsFunction struct{ enter, leave string }

// TLSFunctions returns the names of the functions that AttachTLS knows.
func TLSFunctions() []string { return slices.Sorted(maps.Keys(tlsFunctions())) }

// errNoTLS says that the kernel did not take the programs.
var errNoTLS = errors.New("hooks of TLS libraries are not loaded")

// AttachTLS hooks functions of a file for every process that has it mapped, now or later. offsets are where in the file its
// functions begin; names that TLSFunctions does not return are ignored. Closing the result takes the hooks away again.
func (k *Kern) AttachTLS(path string, offsets map[string]uint64) (_ io.Closer, err error) {
	file, err := k.openFile(path)
	if err != nil {
		return nil, fmt.Errorf("hook TLS library: %w", err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	functions := tlsFunctions()
	for _, name := range slices.Sorted(maps.Keys(offsets)) {
		f, ok := functions[name]
		if !ok {
			continue
		}
		for _, program := range []string{f.leave, f.enter} { // what is entered must not be missed at its return
			if program == "" {
				continue
			}
			p := k.programs[program]
			if p == nil {
				return nil, errNoTLS
			}
			if err := file.hook(p, name, offsets[name], program == f.leave); err != nil {
				return nil, fmt.Errorf("hook %s of %s: %w", name, path, err)
			}
		}
	}
	if err := file.begin(); err != nil {
		return nil, err
	}
	return file, nil
}
