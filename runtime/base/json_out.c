/* JSON strings; see json_out.h. Runs of plain bytes are copied in one piece. */
#include "base/json_out.h"

#include "base/f64text.h"
#include "base/utf8.h"

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

/* Other bytes stand for themselves: most of most texts. */
static const bool is_special[256] = {
    [0 ... 0x1F] = true, ['"'] = true, ['\\'] = true, [0x7F ... 0xFF] = true};

void md_json_string(struct md_buffer *out, const char *text, size_t length)
{
    size_t plain = 0; /* start of the run that is still to be copied */
    size_t i = 0;
    md_buffer_append(out, "\"", 1);
    while (i < length) {
        unsigned char byte = (unsigned char)text[i];
        if (!is_special[byte]) {
            i++;
            continue;
        }
        size_t step = md_utf8_sequence(text + i, length - i);
        if (step > 1) {
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

void md_json_f64(struct md_buffer *out, double value)
{
    if (md_buffer_reserve(out, MD_NUMBER_TEXT_MAX))
        out->length += md_f64_text(value, out->data + out->length);
}

void md_json_f32(struct md_buffer *out, float value)
{
    if (md_buffer_reserve(out, MD_NUMBER_TEXT_MAX))
        out->length += md_f32_text(value, out->data + out->length);
}

void md_json_f64_rounded(struct md_buffer *out, double value, int decimals)
{
    if (md_buffer_reserve(out, MD_NUMBER_TEXT_MAX))
        out->length += md_f64_text_rounded(value, decimals, out->data + out->length);
}

/* Numbers that are written at a time: straight to the buffer where it has room for the longest. */
enum { PIECE = 96, PIECE_BYTES = (PIECE + 1) * MD_F32S_TEXT_MAX };

void md_json_f32s(struct md_buffer *out, const float *values, size_t count, int decimals)
{
    char beside[PIECE_BYTES];
    for (size_t done = 0; done < count && out->failed == MD_OK; done += PIECE) {
        size_t part = count - done < PIECE ? count - done : PIECE;
        bool direct = out->capacity - out->length > PIECE_BYTES;
        char *text = direct ? out->data + out->length : beside;
        size_t comma = done == 0; /* none before the first */
        size_t length = (size_t)(md_f32s_text(values + done, part, decimals, text) - text) - comma;
        if (!direct) {
            md_buffer_append(out, text + comma, length);
            continue;
        }
        if (comma)
            memmove(text, text + 1, length);
        out->length += length;
        text[length] = '\0';
    }
}
