/* See percent.h. NUL is refused because paths and fields are C strings further on. */
#include "base/percent.h"

int md_hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

int md_percent_decode(const char *text, size_t length, bool plus, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char byte = text[i];
        if (byte == '%') {
            if (i + 2 >= length || md_hex_digit(text[i + 1]) < 0 || md_hex_digit(text[i + 2]) < 0)
                return -1;
            byte = (char)(md_hex_digit(text[i + 1]) * 16 + md_hex_digit(text[i + 2]));
            i += 2;
        } else if (plus && byte == '+') {
            byte = ' ';
        }
        if (byte == '\0' || used + 1 >= size)
            return -1;
        out[used++] = byte;
    }
    out[used] = '\0';
    return (int)used;
}
