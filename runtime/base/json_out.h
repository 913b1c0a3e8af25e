/*
 * JSON out: the pieces that every writer of JSON shares. Numbers are in f64text.h.
 */
#ifndef MD_BASE_JSON_OUT_H
#define MD_BASE_JSON_OUT_H

#include "base/buffer.h"

/*
 * Appends text as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so
 * that the result is always valid JSON, whatever a client, a file name or a script has put in.
 */
void md_json_string(struct md_buffer *out, const char *text, size_t length);

#endif
