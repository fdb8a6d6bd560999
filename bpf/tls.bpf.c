// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Functions of TLS libraries, beside every tier. User space attaches the programs to each library file that observed
// processes have mapped, wherever in it the functions are. A trap costs the process several times what the program does.

#include "lib/tls_call.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// int SSL_read(SSL *, void *, int)
SEC("uprobe")
int openssl_read(void *ctx)
{
	tls_enter(ctx, TLS_READ, TLS_OPENSSL, 0);
	return 0;
}

// int SSL_read_ex(SSL *, void *, size_t, size_t *)
SEC("uprobe")
int openssl_read_ex(void *ctx)
{
	tls_enter(ctx, TLS_READ, TLS_OPENSSL, regs_arg(ctx, 3));
	return 0;
}

// int SSL_write(SSL *, const void *, int)
SEC("uprobe")
int openssl_write(void *ctx)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, 0);
	return 0;
}

// int SSL_write_ex(SSL *, const void *, size_t, size_t *)
SEC("uprobe")
int openssl_write_ex(void *ctx)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, regs_arg(ctx, 3));
	return 0;
}

// int SSL_write_ex2(SSL *, const void *, size_t, uint64_t, size_t *)
SEC("uprobe")
int openssl_write_ex2(void *ctx)
{
	tls_enter(ctx, TLS_WRITE, TLS_OPENSSL, regs_arg(ctx, 4));
	return 0;
}

// int SSL_do_handshake(SSL *), which SSL_connect and SSL_accept call
SEC("uprobe")
int openssl_handshake(void *ctx)
{
	tls_enter(ctx, TLS_OTHER, TLS_OPENSSL, 0);
	return 0;
}

// ssize_t gnutls_record_recv(gnutls_session_t, void *, size_t)
SEC("uprobe")
int gnutls_read(void *ctx)
{
	tls_enter(ctx, TLS_READ, TLS_GNUTLS, 0);
	return 0;
}

// ssize_t gnutls_record_send(gnutls_session_t, const void *, size_t)
SEC("uprobe")
int gnutls_write(void *ctx)
{
	tls_enter(ctx, TLS_WRITE, TLS_GNUTLS, 0);
	return 0;
}

// int gnutls_handshake(gnutls_session_t)
SEC("uprobe")
int gnutls_shake(void *ctx)
{
	tls_enter(ctx, TLS_OTHER, TLS_GNUTLS, 0);
	return 0;
}

// int SSL_shutdown(SSL *), int gnutls_bye(gnutls_session_t, gnutls_close_request_t)
SEC("uprobe")
int tls_shutdown(void *ctx)
{
	tls_closes(regs_arg(ctx, 0));
	return 0;
}

// void SSL_free(SSL *), void gnutls_deinit(gnutls_session_t): the next object may have the same address.
SEC("uprobe")
int tls_free(void *ctx)
{
	tls_part(regs_arg(ctx, 0), bpf_get_current_pid_tgid() >> 32);
	return 0;
}

SEC("uretprobe")
int tls_leave(void *ctx)
{
	tls_return(ctx);
	return 0;
}
