/* Percent-encoding of URLs (RFC 3986, section 2.1). */
#ifndef MD_BASE_PERCENT_H
#define MD_BASE_PERCENT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decodes %XX (and + as a blank when plus) from [text, text + length) into out, with a NUL. Returns
 * the decoded length; -1: a malformed escape, a NUL, or no room.
 */
int md_percent_decode(const char *text, size_t length, bool plus, char *out, size_t size);
/* 0 to 15; -1: not a hexadecimal digit. */
int md_hex_digit(char digit);

#endif
