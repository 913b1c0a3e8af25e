/* UTF-8; see utf8.h. The table of valid sequences is RFC 3629, section 4. */
#include "base/utf8.h"

#include <stdbool.h>

static bool continues(const char *text, size_t length, size_t i)
{
    return i < length && ((unsigned char)text[i] & 0xC0) == 0x80;
}

size_t md_utf8_sequence(const char *text, size_t length)
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
