/* Binary records: a byte at a time, so that neither alignment nor the machine's order matters. */
#include "base/bytes.h"

#include <limits.h>
#include <string.h>

static void put(struct md_buffer *bytes, uint64_t value, int size)
{
    unsigned char little[8];
    for (int i = 0; i < size; i++)
        little[i] = (unsigned char)(value >> (8 * i));
    md_buffer_append(bytes, little, (size_t)size);
}

void md_bytes_put_u8(struct md_buffer *bytes, unsigned value)
{
    put(bytes, value, 1);
}

void md_bytes_put_u32(struct md_buffer *bytes, uint32_t value)
{
    put(bytes, value, 4);
}

void md_bytes_put_u64(struct md_buffer *bytes, uint64_t value)
{
    put(bytes, value, 8);
}

void md_bytes_put_i64(struct md_buffer *bytes, int64_t value)
{
    put(bytes, (uint64_t)value, 8);
}

void md_bytes_put_f32(struct md_buffer *bytes, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(bytes, bits, 4);
}

void md_bytes_put_text(struct md_buffer *bytes, const char *text)
{
    size_t length = strlen(text);
    md_bytes_put_u32(bytes, (uint32_t)length);
    md_buffer_append(bytes, text, length + 1);
}

void md_bytes_reader_init(struct md_bytes_reader *reader, const void *bytes, size_t length)
{
    reader->at = bytes;
    reader->end = reader->at + length;
    reader->has_failed = false;
}

size_t md_bytes_left(const struct md_bytes_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* The next `size` bytes, or NULL: failed. */
static const unsigned char *take(struct md_bytes_reader *reader, size_t size)
{
    if (reader->has_failed || md_bytes_left(reader) < size) {
        reader->has_failed = true;
        return NULL;
    }
    const unsigned char *at = reader->at;
    reader->at += size;
    return at;
}

static uint64_t get(struct md_bytes_reader *reader, int size)
{
    const unsigned char *little = take(reader, (size_t)size);
    uint64_t value = 0;
    for (int i = 0; little && i < size; i++)
        value |= (uint64_t)little[i] << (8 * i);
    return value;
}

unsigned md_bytes_get_u8(struct md_bytes_reader *reader)
{
    return (unsigned)get(reader, 1);
}

uint32_t md_bytes_get_u32(struct md_bytes_reader *reader)
{
    return (uint32_t)get(reader, 4);
}

uint64_t md_bytes_get_u64(struct md_bytes_reader *reader)
{
    return get(reader, 8);
}

int64_t md_bytes_get_i64(struct md_bytes_reader *reader)
{
    return (int64_t)get(reader, 8);
}

float md_bytes_get_f32(struct md_bytes_reader *reader)
{
    uint32_t bits = md_bytes_get_u32(reader);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

const char *md_bytes_get_text(struct md_bytes_reader *reader)
{
    size_t length = md_bytes_get_u32(reader);
    const char *text = (const char *)take(reader, length + 1);
    if (!text || text[length] != '\0' || memchr(text, '\0', length)) {
        reader->has_failed = true;
        return "";
    }
    return text;
}

int md_bytes_get_count(struct md_bytes_reader *reader, size_t least)
{
    uint32_t count = md_bytes_get_u32(reader);
    if (count > INT_MAX || count > md_bytes_left(reader) / least) {
        reader->has_failed = true;
        return 0;
    }
    return (int)count;
}
