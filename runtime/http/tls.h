/*
 * HTTPS: OpenSSL on sockets that never block. TLS 1.2 and 1.3, a certificate chain and its key from
 * two PEM files, looked at again when they change. Only tls.c knows OpenSSL.
 */
#ifndef MD_HTTP_TLS_H
#define MD_HTTP_TLS_H

#include <sys/types.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct md__tls_context;
struct md__tls;

/* Reads and checks the files: readable, in PEM, belonging together, valid now. */
enum md_status md__tls_context_new(const char *certificate, const char *key, int64_t now_ms,
                                   struct md__tls_context **context, struct md_error *err);
void md__tls_context_delete(struct md__tls_context *context);
/*
 * Takes changed files over for connections to come. MD_OK: *changed tells whether there was
 * anything new; otherwise the old ones stay in use, and the same files are not tried again.
 */
enum md_status md__tls_context_refresh(struct md__tls_context *context, int64_t now_ms,
                                       bool *changed, struct md_error *err);

/* A connection whose handshake happens in its first reads. NULL: out of memory. */
struct md__tls *md__tls_new(struct md__tls_context *context, int fd);
void md__tls_delete(struct md__tls *tls); /* NULL is fine */
/* As md__transport_read and md__transport_write. */
ssize_t md__tls_read(struct md__tls *tls, void *data, size_t size);
ssize_t md__tls_write(struct md__tls *tls, const void *data, size_t length);
bool md__tls_wants_read(const struct md__tls *tls); /* the last write did */
void md__tls_shut(struct md__tls *tls);             /* says that we send no more */

#endif
