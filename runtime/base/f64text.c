/*
 * Shortest decimals by exact integer arithmetic.
 *
 * A finite number is m * 2^e. All reals between its two midpoints with its neighbours read back as
 * it, so the task is to find the shortest decimal in that interval. Scaled by 4 * 10^k, midpoints
 * and number are integers times 2^(e-2), and with k chosen so that 17 digits (float32: 9) stand
 * left of the point they fit in 128 bits: one multiplication each, nothing rounded. From the
 * integers inside the interval, digits are then dropped from the right as long as a multiple of the
 * next power of ten still lies inside, and of what remains the one nearest to the number is taken.
 *
 * That covers 2^-16 <= |x| < 1e18 (float32: from 2^-73). Numbers outside are rare in what we print
 * and take the slow way: printf with the fewest digits that read back.
 */
#include "base/f64text.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 uint128;

struct binary { /* m * 2^e */
    uint64_t m;
    int e;
    bool lower_is_closer; /* the neighbour below is at half the distance of the one above */
};

struct decimal { /* digits * 10^exponent */
    uint64_t digits;
    int exponent;
};

struct precision {
    int digits_max; /* decimal digits that always suffice */
    int scale_max;  /* largest k for which 4 * m * 10^k fits in 127 bits */
    bool is_float32;
};

static const struct precision float64_precision = {17, 21, false};
static const struct precision float32_precision = {9, 30, true};

static const uint64_t powers_of_ten[] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
};

static uint128 power_of_ten(int k)
{
    int half = k / 2;
    return (uint128)powers_of_ten[half] * powers_of_ten[k - half];
}

/* ---- shortest digits ---- */

/* Drops `count` digits from the interval's ends when a multiple of 10^count = power lies inside. */
static inline bool drop(uint64_t *low, uint64_t *high, uint64_t power)
{
    uint64_t low_dropped = (*low + power - 1) / power, high_dropped = *high / power;
    if (low_dropped > high_dropped)
        return false;
    *low = low_dropped;
    *high = high_dropped;
    return true;
}

static int drop_digits(uint64_t *low, uint64_t *high)
{
    int dropped = 0;
    if (drop(low, high, 100000000))
        dropped += 8;
    if (drop(low, high, 100000000))
        dropped += 8;
    if (drop(low, high, 10000))
        dropped += 4;
    if (drop(low, high, 100))
        dropped += 2;
    if (drop(low, high, 10))
        dropped += 1;
    return dropped;
}

/* scaled / 2^shift / 10^dropped to the nearest integer, ties to even. */
static uint64_t nearest(uint128 scaled, int shift, int dropped)
{
    uint128 unit = (uint128)powers_of_ten[dropped] << shift;
    uint64_t whole = (uint64_t)(scaled >> shift) / powers_of_ten[dropped];
    uint128 twice_rest = 2 * (scaled - whole * unit);
    return whole + (twice_rest > unit || (twice_rest == unit && whole % 2 == 1));
}

/* False when the number is outside the range of the method. */
static bool shortest(const struct binary *number, const struct precision *precision,
                     struct decimal *decimal)
{
    int log2 = number->e + 63 - __builtin_clzll(number->m);
    /*
     * floor(log2 * log10(2)), by a fraction that is exact over this range; log10(x) is that or one
     * more.
     */
    int log10 = (log2 * 1233) >> 12;
    int k = precision->digits_max - 1 - log10;
    if (k > precision->scale_max || log10 >= 18)
        return false;
    if (k < 0)
        k = 0;
    uint128 power = power_of_ten(k);
    uint128 low = (4 * number->m - (number->lower_is_closer ? 1 : 2)) * power;
    uint128 middle = 4 * number->m * power;
    uint128 high = (4 * number->m + 2) * power;
    int shift = 2 - number->e;
    if (shift < 0) {
        low <<= -shift;
        middle <<= -shift;
        high <<= -shift;
        shift = 0;
    }
    /* The ends themselves read back as the number when its last bit is even. */
    bool ends_belong = number->m % 2 == 0;
    uint128 fraction = ((uint128)1 << shift) - 1;
    uint64_t first = (uint64_t)(low >> shift) + ((low & fraction) != 0 || !ends_belong);
    uint64_t last = (uint64_t)(high >> shift) - ((high & fraction) == 0 && !ends_belong);
    int dropped = drop_digits(&first, &last);
    uint64_t digits = nearest(middle, shift, dropped);
    decimal->digits = digits < first ? first : digits > last ? last : digits;
    decimal->exponent = dropped - k;
    return true;
}

/* ---- the slow way ---- */

static bool reads_back(const char *text, double value, bool is_float32)
{
    return is_float32 ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value;
}

/* Reads d.dddde+xx, whatever the locale has in place of the point. */
static struct decimal parse_scientific(const char *text)
{
    struct decimal decimal = {0, 0};
    int after_point = -1;
    for (; *text != 'e'; text++) {
        if (*text < '0' || *text > '9')
            continue;
        decimal.digits = decimal.digits * 10 + (uint64_t)(*text - '0');
        after_point++;
    }
    decimal.exponent = atoi(text + 1) - after_point;
    return decimal;
}

/* A number that reads back from some digits does so from more, so the least is found by bisection.
 */
static struct decimal shortest_slowly(double value, const struct precision *precision)
{
    char text[64];
    int enough = precision->digits_max, too_few = 0;
    while (enough - too_few > 1) {
        int digits = (enough + too_few) / 2;
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (reads_back(text, value, precision->is_float32))
            enough = digits;
        else
            too_few = digits;
    }
    snprintf(text, sizeof text, "%.*e", enough - 1, value);
    return parse_scientific(text);
}

/* ---- text ---- */

static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

/* Writes digits so that they end before `end`; returns where they start. */
static char *write_digits(uint64_t digits, char *end)
{
    while (digits >= 100) {
        end -= 2;
        memcpy(end, two_digits + 2 * (digits % 100), 2);
        digits /= 100;
    }
    if (digits >= 10) {
        end -= 2;
        memcpy(end, two_digits + 2 * digits, 2);
    } else {
        *--end = (char)('0' + digits);
    }
    return end;
}

static char *fill(char *at, char c, int count)
{
    memset(at, c, (size_t)count);
    return at + count;
}

static char *copy(char *at, const char *from, int count)
{
    memcpy(at, from, (size_t)count);
    return at + count;
}

/* digits has no trailing zero unless it is 0. */
static size_t write_decimal(bool negative, struct decimal decimal, char *text)
{
    char memory[24];
    char *end = memory + sizeof memory;
    const char *digits = write_digits(decimal.digits, end);
    int count = (int)(end - digits);
    int point = count + decimal.exponent; /* digits before the decimal point */
    char *at = text;
    if (negative)
        *at++ = '-';
    if (point > 21 || point < -5) {
        *at++ = digits[0];
        if (count > 1) {
            *at++ = '.';
            at = copy(at, digits + 1, count - 1);
        }
        at += sprintf(at, "e%d", point - 1);
    } else if (point <= 0) {
        at = copy(at, "0.", 2);
        at = fill(at, '0', -point);
        at = copy(at, digits, count);
    } else if (point >= count) {
        at = copy(at, digits, count);
        at = fill(at, '0', point - count);
    } else {
        at = copy(at, digits, point);
        *at++ = '.';
        at = copy(at, digits + point, count - point);
    }
    *at = '\0';
    return (size_t)(at - text);
}

static size_t write_special(double value, char *text)
{
    strcpy(text, value == 0 ? (signbit(value) ? "-0" : "0") : "null");
    return strlen(text);
}

static struct binary split_float64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7FF);
    if (exponent == 0)
        return (struct binary){fraction, 1 - 1075, false};
    return (struct binary){fraction | (uint64_t)1 << 52, exponent - 1075,
                           fraction == 0 && exponent > 1};
}

static struct binary split_float32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t fraction = bits & (((uint32_t)1 << 23) - 1);
    int exponent = (int)(bits >> 23 & 0xFF);
    if (exponent == 0)
        return (struct binary){fraction, 1 - 150, false};
    return (struct binary){fraction | (uint32_t)1 << 23, exponent - 150,
                           fraction == 0 && exponent > 1};
}

static size_t write_shortest(double value, struct binary number, const struct precision *precision,
                             char *text)
{
    struct decimal decimal;
    if (!shortest(&number, precision, &decimal))
        decimal = shortest_slowly(fabs(value), precision);
    return write_decimal(value < 0, decimal, text);
}

/* Most numbers are small and whole: 1 to 99,999, which every format writes as their digits. */
static size_t write_small(int number, char *text)
{
    char digits[8];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    for (int i = 0; i < count; i++)
        text[i] = digits[count - 1 - i];
    text[count] = '\0';
    return (size_t)count;
}

size_t md_f64_text(double value, char *text)
{
    if (value >= 1 && value < 100000 && value == (double)(int)value)
        return write_small((int)value, text);
    if (value == 0 || !isfinite(value))
        return write_special(value, text);
    return write_shortest(value, split_float64(value), &float64_precision, text);
}

size_t md_f32_text(float value, char *text)
{
    if (value == 0 || !isfinite(value))
        return write_special((double)value, text);
    return write_shortest((double)value, split_float32(value), &float32_precision, text);
}

size_t md_f64_text_rounded(double value, int decimals, char *text)
{
    assert(decimals >= 0 && decimals <= MD_DECIMALS_MAX);
    /* Where neighbours are more than 10^-decimals apart, the shortest text has no more decimals. */
    if (fabs(value) * (double)powers_of_ten[decimals] >= 0x1p53 || !isfinite(value))
        return md_f64_text(value, text);
    struct binary number = split_float64(value);
    uint128 scaled = (uint128)number.m * powers_of_ten[decimals];
    /* 83 bits at most, so that beyond 126 shifts what is left is far below one half. */
    int shift = -number.e < 126 ? -number.e : 126;
    struct decimal decimal = {(uint64_t)(scaled >> shift), -decimals};
    uint128 twice_rest = (scaled - ((uint128)decimal.digits << shift)) * 2;
    uint128 unit = (uint128)1 << shift;
    decimal.digits += twice_rest > unit || (twice_rest == unit && decimal.digits % 2 == 1);
    if (decimal.digits == 0)
        return write_special(0, text);
    while (decimal.exponent < 0 && decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    return write_decimal(value < 0, decimal, text);
}

/* ---- float32, few decimals ---- */

/* The four digits of 0 .. 9999 as they stand in memory, put together in a register. */
static uint32_t four_digits(unsigned number)
{
    uint16_t first, last;
    memcpy(&first, two_digits + 2 * (number / 100), 2);
    memcpy(&last, two_digits + 2 * (number % 100), 2);
    return first | (uint32_t)last << 16;
}

/*
 * Forecasts are written by the million, nearly all of them small and with few decimals. Of the
 * product with a power of ten, 24 and at most 10 bits (10^4 = 2^4 * 625) meet, so it is exact in a
 * double, and lrint rounds it as the exact value: ties to even. What is left has no branch that
 * depends on the digits. Memory is little-endian, as everywhere: the first digit is the lowest
 * byte.
 */
size_t md_f32_text_rounded(float value, int decimals, char *text)
{
    float size = fabsf(value);
    if (!(size < 9999.0f) || decimals > 4)
        return md_f64_text_rounded((double)value, decimals, text);
    unsigned rounded = (unsigned)lrint((double)size * (double)powers_of_ten[decimals]);
    unsigned ten_thousandths = rounded * (unsigned)powers_of_ten[4 - decimals];
    uint32_t whole = four_digits(ten_thousandths / 10000);
    uint32_t fraction = four_digits(ten_thousandths % 10000);
    int zeros = __builtin_ctz((whole & 0x0F0F0F0F) | 0x01000000) / 8; /* in front: at most three */
    char *at = text;
    *at = '-';
    at += value < 0 && rounded > 0;
    whole >>= 8 * zeros;
    memcpy(at, &whole, sizeof whole);
    at += 4 - zeros;
    if ((fraction & 0x0F0F0F0F) != 0) {
        *at++ = '.';
        memcpy(at, &fraction, sizeof fraction);
        at += 4 - __builtin_clz(fraction & 0x0F0F0F0F) / 8; /* without zeros at the end */
    }
    *at = '\0';
    return (size_t)(at - text);
}
