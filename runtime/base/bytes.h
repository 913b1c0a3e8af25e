/*
 * Binary records: little-endian numbers and texts appended to a buffer, and read back with every
 * length checked. A reader that ran over its end stays failed and gives zeros and empty texts, so
 * that callers check once after a group of reads and before they trust a count.
 */
#ifndef MD_BASE_BYTES_H
#define MD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

void md_bytes_put_u8(struct md_buffer *bytes, unsigned value);
void md_bytes_put_u32(struct md_buffer *bytes, uint32_t value);
void md_bytes_put_u64(struct md_buffer *bytes, uint64_t value);
void md_bytes_put_i64(struct md_buffer *bytes, int64_t value);
void md_bytes_put_f32(struct md_buffer *bytes, float value); /* bit for bit */
void md_bytes_put_text(struct md_buffer *bytes, const char *text);

struct md_bytes_reader {
    const unsigned char *at, *end;
    bool has_failed;
};

void md_bytes_reader_init(struct md_bytes_reader *reader, const void *bytes, size_t length);
size_t md_bytes_left(const struct md_bytes_reader *reader);
unsigned md_bytes_get_u8(struct md_bytes_reader *reader);
uint32_t md_bytes_get_u32(struct md_bytes_reader *reader);
uint64_t md_bytes_get_u64(struct md_bytes_reader *reader);
int64_t md_bytes_get_i64(struct md_bytes_reader *reader);
float md_bytes_get_f32(struct md_bytes_reader *reader);
/* Lies in the bytes that are read, NUL-terminated there; fails on a NUL inside. */
const char *md_bytes_get_text(struct md_bytes_reader *reader);
/* A count of things that take at least `least` bytes each: fails when there is no room for them. */
int md_bytes_get_count(struct md_bytes_reader *reader, size_t least);

#endif
