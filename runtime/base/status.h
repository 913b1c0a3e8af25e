/*
 * Status codes and errors: the one convention for everything that can fail.
 *
 * A fallible function returns `enum md_status` and takes `struct md_error *err` last. On failure it
 * fills `err` once, where the cause is known (md_fail records file and line), and callers pass it
 * on untouched or prefix it with md_error_context. `err` may be NULL when nobody wants the text.
 * Code, name, HTTP status and process exit status of each condition come from one table.
 */
#ifndef MD_BASE_STATUS_H
#define MD_BASE_STATUS_H

/* Columns: code, name on the wire, HTTP status, process exit status. */
#define MD_STATUSES(X)                                                                             \
    X(MD_OK, "OK", 200, 0)                                                                         \
    X(MD_ERR_INVALID, "INVALID_ARGUMENT", 400, 2)    /* malformed input: syntax, type, option */   \
    X(MD_ERR_UNPROCESSABLE, "UNPROCESSABLE", 422, 2) /* well-formed, but its content is wrong */   \
    X(MD_ERR_CORRUPT, "CORRUPT_FILE", 422, 2)        /* a model or data file breaks its format */  \
    X(MD_ERR_UNSUPPORTED, "UNSUPPORTED", 501, 3)     /* operator, attribute, type or opset */      \
    X(MD_ERR_NOT_FOUND, "NOT_FOUND", 404, 2)                                                       \
    X(MD_ERR_METHOD, "METHOD_NOT_ALLOWED", 405, 2)                                                 \
    X(MD_ERR_UNAUTHORIZED, "FORBIDDEN", 403, 2)                                                    \
    X(MD_ERR_TOO_LARGE, "TOO_LARGE", 413, 2) /* input over a declared limit */                     \
    X(MD_ERR_CONFLICT, "CONFLICT", 409, 2)   /* e.g. the state folder is locked */                 \
    X(MD_ERR_RATE_LIMITED, "RATE_LIMITED", 429, 1)                                                 \
    X(MD_ERR_CANCELLED, "CANCELLED", 499, 1)                                                       \
    X(MD_ERR_INTERNAL, "INTERNAL", 500, 1) /* a bug of ours */                                     \
    X(MD_ERR_SCRIPT, "SCRIPT_ERROR", 500, 1)                                                       \
    X(MD_ERR_IO, "IO_ERROR", 500, 1)                                                               \
    X(MD_ERR_DEVICE, "DEVICE_ERROR", 500, 1)                                                       \
    X(MD_ERR_MEMORY, "OUT_OF_MEMORY", 503, 1)                                                      \
    X(MD_ERR_UNAVAILABLE, "UNAVAILABLE", 503, 1) /* queue full, draining, not ready */             \
    X(MD_ERR_TIMEOUT, "DEADLINE_EXCEEDED", 504, 1)                                                 \
    X(MD_ERR_PENDING, "PENDING", 500, 1) /* graph/ only: needs contents that a run will know */

enum md_status {
#define X(code, name, http, exit) code,
    MD_STATUSES(X)
#undef X
    MD_STATUS_COUNT
};

/* What went wrong, in one line without a trailing newline. Lives in the caller's memory. */
struct md_error {
    enum md_status code;
    int line;
    const char *file;
    char text[256];
};

const char *md_status_name(enum md_status code);
/* The code of a name; MD_ERR_INTERNAL: there is none like that. */
enum md_status md_status_of_name(const char *name);
int md_status_http(enum md_status code);
int md_status_exit(enum md_status code);

/*
 * Fills err (when not NULL) and returns code, so that `return md_fail(err, MD_ERR_IO, "...")` reads
 * well.
 */
#define md_fail(err, code, ...) md__fail(err, code, __FILE__, __LINE__, __VA_ARGS__)
enum md_status md__fail(struct md_error *err, enum md_status code, const char *file, int line,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));

/*
 * Puts "prefix: " before the text that is already in err; keeps code, file and line. Returns err's
 * code.
 */
enum md_status md_error_context(struct md_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
