/* JSON strings; see json_out.h. Runs of plain bytes are copied in one piece. */
#include "base/json_out.h"

static bool continues(const char *text, size_t length, size_t i)
{
    return i < length && ((unsigned char)text[i] & 0xC0) == 0x80;
}

/*
 * Length of the valid UTF-8 sequence that starts text (RFC 3629: no overlong forms, no surrogates),
 * or 0.
 */
static size_t sequence_length(const char *text, size_t length)
{
    unsigned char lead = (unsigned char)text[0];
    unsigned char second = length > 1 ? (unsigned char)text[1] : 0;
    if (lead < 0x80)
        return 1;
    if (!continues(text, length, 1) || lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return 2;
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
        return 0;
    if (!continues(text, length, 2))
        return 0;
    if (lead < 0xF0)
        return 3;
    return continues(text, length, 3) ? 4 : 0;
}

static void escape(struct md_buffer *out, unsigned char byte)
{
    switch (byte) {
    case '"':
        md_buffer_text(out, "\\\"");
        break;
    case '\\':
        md_buffer_text(out, "\\\\");
        break;
    case '\n':
        md_buffer_text(out, "\\n");
        break;
    case '\t':
        md_buffer_text(out, "\\t");
        break;
    case '\r':
        md_buffer_text(out, "\\r");
        break;
    default:
        md_buffer_printf(out, "\\u%04x", byte);
    }
}

void md_json_string(struct md_buffer *out, const char *text, size_t length)
{
    size_t plain = 0; /* start of the run that is still to be copied */
    size_t i = 0;
    md_buffer_append(out, "\"", 1);
    while (i < length) {
        unsigned char byte = (unsigned char)text[i];
        size_t step = sequence_length(text + i, length - i);
        if (step > 0 && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7F) {
            i += step;
            continue;
        }
        md_buffer_append(out, text + plain, i - plain);
        if (step > 0)
            escape(out, byte);
        else
            md_buffer_text(out, "\xEF\xBF\xBD");
        plain = ++i;
    }
    md_buffer_append(out, text + plain, length - plain);
    md_buffer_append(out, "\"", 1);
}
