/*
 * HTTP/1.1 as bytes: where a request's head ends, what it says, and chunked bodies. Pure functions
 * on memory, so that they can be fuzzed. Strict on purpose: a proxy in front and this server must
 * never disagree about where a request ends, so whatever RFC 9112 lets a recipient forgive (bare
 * line feeds, folded lines, blanks before a colon) is refused.
 */
#ifndef MD_HTTP_PARSE_H
#define MD_HTTP_PARSE_H

#include "base/buffer.h"
#include "script/script.h"

#define MD__HEAD_BYTES_MAX 32768
#define MD__HEADERS_MAX    64

/* 0: no end in sight; > 0: the head has this many bytes; < 0: it can never become one. `scanned`
 * begins as 0 and makes calls with more bytes of the same head cheap. */
long md__head_end(const char *text, size_t length, size_t *scanned);

/* May this byte stand in a method or a field name? */
bool md__is_token_byte(char byte);

struct md__head {
    const char *method, *path; /* path: percent-encoded */
    const char *query;         /* NULL: none */
    int minor;                 /* of HTTP/1.x: 0 or 1 */
    bool keep_alive;
    struct md_header headers[MD__HEADERS_MAX]; /* names in lower case */
    int header_count;
};

/*
 * Cuts the head of this length up in place: everything in *head points into text. Returns 0, or the
 * HTTP status of the refusal with its reason in err.
 */
int md__head_parse(char *text, size_t length, struct md__head *head, struct md_error *err);

/* A chunked body (RFC 9112, section 7.1); all zero at its beginning. */
struct md__chunks {
    int state;
    int line; /* bytes of the present line, or of all trailers */
    size_t left;
    bool done;
};

/*
 * Decodes what has come into body and sets *used to how much of it belongs to this body, which is
 * less than length only when done. MD_ERR_TOO_LARGE: more than bytes_max; MD_ERR_INVALID.
 */
enum md_status md__chunks_feed(struct md__chunks *chunks, const char *data, size_t length,
                               size_t *used, struct md_buffer *body, size_t bytes_max,
                               struct md_error *err);

#endif
