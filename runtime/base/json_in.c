/*
 * Strict JSON in. jansson does the parsing; what it would cost is checked beforehand in one pass.
 * The depth, because jansson's own limit (2048) is fixed when it is compiled and deep values cost
 * stack wherever they are walked; the tree's size, because "{}," takes some hundred times as much
 * memory as text, and a limit on the text alone limits nothing.
 */
#include "base/json_in.h"

#include <string.h>

/* What jansson 2.14 allocates on 64 bits, rounded up: an object with its first buckets, an array,
 * a member or element. */
enum { OBJECT_BYTES = 288, ARRAY_BYTES = 128, ITEM_BYTES = 64 };

/* Byte position of the bracket that exceeds the depth, or `length` when none does; *bytes is about
 * what the tree will take. */
static size_t look_ahead(const char *text, size_t length, size_t *bytes)
{
    int depth = 0, in_string = 0;
    *bytes = length;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '[' || c == '{') {
            if (++depth > MD_JSON_DEPTH_MAX)
                return i;
            *bytes += c == '[' ? ARRAY_BYTES : OBJECT_BYTES;
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',' || c == ':') {
            *bytes += ITEM_BYTES;
        }
    }
    return length;
}

enum md_status md_json_parse(const char *text, size_t length, json_t **root, struct md_error *err)
{
    *root = NULL;
    size_t bytes, deep = look_ahead(text, length, &bytes);
    if (deep < length)
        return md_fail(err, MD_ERR_INVALID, "JSON nested deeper than %d at byte %zu",
                       MD_JSON_DEPTH_MAX, deep);
    if (bytes > MD_JSON_BYTES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "JSON that takes about %zu MB of memory; %zu may be",
                       bytes >> 20, MD_JSON_BYTES_MAX >> 20);
    json_error_t error;
    *root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    /* Every complaint about the text has words; when memory runs out jansson has none. */
    if (!*root && error.text[0] == '\0')
        return md_fail(err, MD_ERR_MEMORY, "out of memory for JSON of %zu bytes", length);
    if (!*root)
        return md_fail(err, MD_ERR_INVALID, "not valid JSON: %s at byte %d (line %d, column %d)",
                       error.text, error.position, error.line, error.column);
    return MD_OK;
}
