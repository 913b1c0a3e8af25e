/*
 * Strict JSON in (jansson behind one gate), for everything that comes from outside: request bodies,
 * model folders, scripts' decode.
 */
#ifndef MD_BASE_JSON_IN_H
#define MD_BASE_JSON_IN_H

#include <jansson.h>

#include "base/status.h"

#define MD_JSON_DEPTH_MAX 32
#define MD_JSON_BYTES_MAX ((size_t)256 << 20) /* of the parsed tree, by estimate */

/*
 * Parses exactly one JSON value (any kind) of `length` bytes. NaN, Infinity, numbers out of a
 * double's range, bytes that are not UTF-8, NUL escapes, duplicate keys, nesting deeper than
 * MD_JSON_DEPTH_MAX, and text after the value are MD_ERR_INVALID; err tells the byte position.
 * Text whose tree would take more than MD_JSON_BYTES_MAX is MD_ERR_TOO_LARGE.
 * *root is the caller's: json_decref it.
 */
enum md_status md_json_parse(const char *text, size_t length, json_t **root, struct md_error *err);

#endif
