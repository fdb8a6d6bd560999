// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Functions of TLS libraries, beside every tier. User space attaches the programs to each library file that observed
// processes have mapped, wherever in it the functions are. A trap costs the process several times what the program does.

#include "lib/tls_call.h"
#include "lib/uprobe.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// int SSL_read(SSL *, void *, int)
UPROBE(openssl_read)
{
	tls_enter(ctx, TLS_READ, TLS_OPENSSL, 0);
}

// int SSL_read_ex(SSL *, void *, size_t, size_t *)
UPROBE(openssl_read_ex)
{
	tls_enter(ctx, TLS_READ, TLS_OPENSSL, regs_arg(ctx, 3));
}

// int SSL_write(SSL *, const void *, int)
UPROBE(openssl_write)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, 0);
}

// int SSL_write_ex(SSL *, const void *, size_t, size_t *)
UPROBE(openssl_write_ex)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, regs_arg(ctx, 3));
}

// int SSL_write_ex2(SSL *, const void *, size_t, uint64_t, size_t *)
UPROBE(openssl_write_ex2)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, regs_arg(ctx, 4));
}

// int SSL_do_handshake(SSL *), which SSL_connect and SSL_accept call
UPROBE(openssl_handshake)
{
	tls_enter(ctx, TLS_OTHER, TLS_OPENSSL, 0);
}

// ssize_t gnutls_record_recv(gnutls_session_t, void *, size_t)
UPROBE(gnutls_read)
{
	tls_enter(ctx, TLS_READ, TLS_GNUTLS, 0);
}

// ssize_t gnutls_record_send(gnutls_session_t, const void *, size_t)
UPROBE(gnutls_write)
{
	tls_enter(ctx, TLS_WRITE, TLS_GNUTLS, 0);
}

// int gnutls_handshake(gnutls_session_t)
UPROBE(gnutls_shake)
{
	tls_enter(ctx, TLS_OTHER, TLS_GNUTLS, 0);
}

// int SSL_shutdown(SSL *), int gnutls_bye(gnutls_session_t, gnutls_close_request_t)
UPROBE(tls_shutdown)
{
	tls_closes(regs_arg(ctx, 0));
}

// void SSL_free(SSL *), void gnutls_deinit(gnutls_session_t): the next object may have the same address.
UPROBE(tls_free)
{
	tls_part(regs_arg(ctx, 0), bpf_get_current_pid_tgid() >> 32);
}

URETPROBE(tls_leave)
{
	tls_return(ctx);
}
