/*
 * See tls.h. A client that speaks plain HTTP to this port is told so in plain HTTP. Nobody
 * renegotiates; sessions resume by tickets, so the server keeps none.
 */
#include "http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "http/connection.h"

/* What tells that a file has changed. */
struct mark {
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct md__tls_context {
    char *certificate, *key;
    struct mark marks[2];
    pthread_mutex_t lock; /* of ssl */
    SSL_CTX *ssl;
};

struct md__tls {
    SSL *ssl;
    int fd;
    bool wants_read, dead;
};

/* ---- certificates ---- */

static enum md_status fail(struct md_error *err, const char *path, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return md_fail(err, MD_ERR_INVALID, "%s: %s%s%s", path, what, reason != NULL ? ": " : "",
                   reason != NULL ? reason : "");
}

static enum md_status check_dates(SSL_CTX *ssl, const char *path, int64_t now_ms,
                                  struct md_error *err)
{
    const X509 *certificate = SSL_CTX_get0_certificate(ssl);
    time_t now_s = (time_t)(now_ms / 1000);

    if (X509_cmp_time(X509_get0_notBefore(certificate), &now_s) > 0) {
        return fail(err, path, "the certificate is not valid yet");
    }
    if (X509_cmp_time(X509_get0_notAfter(certificate), &now_s) < 0) {
        return fail(err, path, "the certificate has expired");
    }
    return MD_OK;
}

/* A key with a passphrase would ask for it on the terminal. */
static int no_passphrase(char *text, int size, int writing, void *context)
{
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

static enum md_status load(SSL_CTX *ssl, const char *certificate, const char *key, int64_t now_ms,
                           struct md_error *err)
{
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1) {
        return fail(err, certificate, "cannot use this certificate");
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH) {
            ERR_clear_error();
            return md_fail(err, MD_ERR_INVALID, "%s: not the key of %s", key, certificate);
        }
        return fail(err, key, "cannot use this key");
    }
    return check_dates(ssl, certificate, now_ms, err);
}

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *length,
                           const unsigned char *offered, unsigned offered_length, void *context)
{
    static const unsigned char ours[] = "\x08http/1.1";

    (void)ssl, (void)context;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)chosen, length, ours, sizeof ours - 1,
                                 offered, offered_length) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static enum md_status make(const char *certificate, const char *key, int64_t now_ms, SSL_CTX **made,
                           struct md_error *err)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    enum md_status status;

    if (ssl == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for TLS");
    }
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    status = load(ssl, certificate, key, now_ms, err);
    if (status != MD_OK) {
        SSL_CTX_free(ssl);
        return status;
    }
    *made = ssl;
    return MD_OK;
}

static struct mark mark_of(const char *path)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        return (struct mark){0};
    }
    return (struct mark){info.st_ino, info.st_size, info.st_mtim};
}

static bool same_mark(const struct mark *a, const struct mark *b)
{
    return a->inode == b->inode && a->size == b->size && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec;
}

enum md_status md__tls_context_new(const char *certificate, const char *key, int64_t now_ms,
                                   struct md__tls_context **made, struct md_error *err)
{
    struct md__tls_context *context = calloc(1, sizeof *context);
    enum md_status status;

    if (context != NULL) {
        pthread_mutex_init(&context->lock, NULL);
    }
    if (context == NULL || (context->certificate = strdup(certificate)) == NULL ||
        (context->key = strdup(key)) == NULL) {
        md__tls_context_delete(context);
        return md_fail(err, MD_ERR_MEMORY, "out of memory for TLS");
    }
    context->marks[0] = mark_of(certificate);
    context->marks[1] = mark_of(key);
    status = make(certificate, key, now_ms, &context->ssl, err);
    if (status != MD_OK) {
        md__tls_context_delete(context);
        return status;
    }
    *made = context;
    return MD_OK;
}

void md__tls_context_delete(struct md__tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        pthread_mutex_destroy(&context->lock);
        free(context->certificate);
        free(context->key);
        free(context);
    }
}

enum md_status md__tls_context_refresh(struct md__tls_context *context, int64_t now_ms,
                                       bool *changed, struct md_error *err)
{
    struct mark marks[] = {mark_of(context->certificate), mark_of(context->key)};
    SSL_CTX *fresh, *old;
    enum md_status status;

    *changed =
        !same_mark(&marks[0], &context->marks[0]) || !same_mark(&marks[1], &context->marks[1]);
    if (!*changed) {
        return MD_OK;
    }
    context->marks[0] = marks[0];
    context->marks[1] = marks[1];
    status = make(context->certificate, context->key, now_ms, &fresh, err);
    if (status != MD_OK) {
        return status;
    }
    pthread_mutex_lock(&context->lock);
    old = context->ssl;
    context->ssl = fresh;
    pthread_mutex_unlock(&context->lock);
    SSL_CTX_free(old); /* connections hold references of their own */
    return MD_OK;
}

/* ---- connections ---- */

struct md__tls *md__tls_new(struct md__tls_context *context, int fd)
{
    struct md__tls *tls = calloc(1, sizeof *tls);

    if (tls == NULL) {
        return NULL;
    }
    tls->fd = fd;
    pthread_mutex_lock(&context->lock);
    tls->ssl = SSL_new(context->ssl);
    pthread_mutex_unlock(&context->lock);
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1) {
        md__tls_delete(tls);
        return NULL;
    }
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void md__tls_delete(struct md__tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

static void tell_plain_client(const struct md__tls *tls)
{
    static const char body[] =
        "{\"detail\":\"this port speaks HTTPS: use https://\",\"code\":\"INVALID_ARGUMENT\"}";
    char answer[512], rest[4096];
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                          sizeof body - 1, body);

    if (send(tls->fd, answer, (size_t)length, MSG_NOSIGNAL) > 0) {
        shutdown(tls->fd, SHUT_WR);
        while (recv(tls->fd, rest, sizeof rest, 0) > 0) {
        } /* what has come already: unread bytes would reset the connection */
    }
}

/* The result of an operation that returned `done`. */
static ssize_t result(struct md__tls *tls, int done)
{
    int problem;

    if (done > 0) {
        return done;
    }
    problem = SSL_get_error(tls->ssl, done);
    tls->wants_read = problem == SSL_ERROR_WANT_READ;
    if (problem == SSL_ERROR_WANT_READ || problem == SSL_ERROR_WANT_WRITE) {
        return MD__AGAIN;
    }
    if (problem == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    tls->dead = true;
    if (problem == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_HTTP_REQUEST) {
        tell_plain_client(tls);
    }
    ERR_clear_error();
    return MD__BROKEN;
}

ssize_t md__tls_read(struct md__tls *tls, void *data, size_t size)
{
    ERR_clear_error();
    return tls->dead
               ? 0
               : result(tls, SSL_read(tls->ssl, data, size > INT32_MAX ? INT32_MAX : (int)size));
}

ssize_t md__tls_write(struct md__tls *tls, const void *data, size_t length)
{
    ERR_clear_error();
    return tls->dead ? MD__BROKEN
                     : result(tls, SSL_write(tls->ssl, data,
                                             length > INT32_MAX ? INT32_MAX : (int)length));
}

bool md__tls_wants_read(const struct md__tls *tls)
{
    return tls->wants_read;
}

void md__tls_shut(struct md__tls *tls)
{
    ERR_clear_error();
    if (!tls->dead && SSL_is_init_finished(tls->ssl)) {
        SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
}
