/*
 * Texts of many float32 at once: one source (numbers.c), compiled for each instruction set. Use
 * md_f32s_text (base/f64text.h), which picks one; tests compare them all.
 */
#ifndef MD_BASE_ISA_NUMBERS_H
#define MD_BASE_ISA_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>

typedef char *(*md__f32s_writer)(const float *values, size_t count, int decimals, char *text);

char *md__f32s_text_portable(const float *values, size_t count, int decimals, char *text);
char *md__f32s_text_avx2(const float *values, size_t count, int decimals, char *text);
char *md__f32s_text_avx512(const float *values, size_t count, int decimals, char *text);

/* The writers that this processor can run, the fastest last; returns how many there are. */
enum { MD__F32S_WRITERS_MAX = 3 };
int md__f32s_writers(md__f32s_writer *writers);

#endif
