/*
 * Strict JSON in. jansson does the parsing; the depth is checked beforehand in one pass, because
 * jansson's own limit (2048) is fixed when it is compiled and deep values cost stack wherever they
 * are walked.
 */
#include "base/json_in.h"

#include <string.h>

/* Byte position of the bracket that exceeds the depth, or `length` when none does. */
static size_t too_deep(const char *text, size_t length)
{
    int depth = 0, in_string = 0;
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
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return length;
}

enum md_status md_json_parse(const char *text, size_t length, json_t **root, struct md_error *err)
{
    *root = NULL;
    size_t deep = too_deep(text, length);
    if (deep < length)
        return md_fail(err, MD_ERR_INVALID, "JSON nested deeper than %d at byte %zu",
                       MD_JSON_DEPTH_MAX, deep);
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
