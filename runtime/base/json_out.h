/*
 * JSON out: the pieces that every writer of JSON shares.
 */
#ifndef MD_BASE_JSON_OUT_H
#define MD_BASE_JSON_OUT_H

#include "base/buffer.h"

/*
 * Appends text as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so
 * that the result is always valid JSON, whatever a client, a file name or a script has put in.
 */
void md_json_string(struct md_buffer *out, const char *text, size_t length);

/* Numbers as f64text.h writes them: NaN and infinities are null. */
void md_json_f64(struct md_buffer *out, double value);
void md_json_f32(struct md_buffer *out, float value);
void md_json_f64_rounded(struct md_buffer *out, double value, int decimals);
/* Numbers with commas between them, each rounded to so many decimals; below 0: as md_json_f32. */
void md_json_f32s(struct md_buffer *out, const float *values, size_t count, int decimals);

#endif
