/*
 * Numbers as JSON text: the shortest decimal that reads back as the same float64 or float32, or a
 * number rounded to some decimals. Independent of the locale. NaN and infinities, which JSON lacks,
 * become `null`.
 *
 * Every function writes at most MD_NUMBER_TEXT_MAX bytes including a NUL and returns the length
 * without it. Exponents appear below 1e-6 and from 1e21 on, as in JavaScript.
 */
#ifndef MD_BASE_F64TEXT_H
#define MD_BASE_F64TEXT_H

#include <stddef.h>

#define MD_NUMBER_TEXT_MAX 32
#define MD_DECIMALS_MAX    9
#define MD_F32S_TEXT_MAX   24 /* of one number of md_f32s_text, its comma included */

size_t md_f64_text(double value, char *text);
/* Shortest for a reader that rounds to float32: 0.1f is "0.1", not "0.10000000149011612". */
size_t md_f32_text(float value, char *text);
/*
 * Rounded to 0 .. MD_DECIMALS_MAX decimals as printf rounds (exact value, ties to even), without
 * trailing zeros and without a minus before zero: 2.5004 with 3 decimals is "2.5".
 */
size_t md_f64_text_rounded(double value, int decimals, char *text);
/* The same text for a float32, faster where decimals <= 4 and |value| < 9999. */
size_t md_f32_text_rounded(float value, int decimals, char *text);
/*
 * The same texts of many numbers, each behind a comma: ",1,2.5"; decimals below 0 give the
 * shortest. Returns the end. `text` has room for count + 1 times MD_F32S_TEXT_MAX bytes, all of
 * which may be written to; there is no NUL. Vectors of the best instruction set that the processor
 * has.
 */
char *md_f32s_text(const float *values, size_t count, int decimals, char *text);

#endif
