/* UTF-8 (RFC 3629), a character at a time. */
#ifndef MD_BASE_UTF8_H
#define MD_BASE_UTF8_H

#include <stddef.h>

/*
 * Length (1 to 4) of the valid sequence that starts `text`, or 0 when there is none: a stray or
 * missing continuation byte, an overlong form, a surrogate, a code point over U+10FFFF. length
 * >= 1.
 */
size_t md_utf8_sequence(const char *text, size_t length);

#endif
