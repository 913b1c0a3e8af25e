/*
 * What becomes of a tile of sums (linear.c): the addend, ELU or the gates of a GLU, and the store.
 *
 * ELU and gates are functions of their own, never inlined, that read a tile's sums from the stack:
 * beside the product their constants would take registers that sums need, which then would go
 * through memory for every input.
 */
#ifndef MD_KERNELS_CPU_ISA_LINEAR_STORE_H
#define MD_KERNELS_CPU_ISA_LINEAR_STORE_H

#include "kernels/cpu/isa/linear.h"

#define OUT_OF_LINE static __attribute__((noinline))

INLINE void store_columns(float *y, size_t column, size_t columns, vf v)
{
    if (column + VL <= columns)
        store(y + column, v);
    else if (column < columns)
        store_some(y + column, v, columns - column);
}

INLINE vf load_columns(const float *from, size_t column, size_t columns)
{
    if (column + VL <= columns)
        return load(from + column);
    return column < columns ? load_some(from + column, columns - column) : (vf){0};
}

#define EACH_OF_TILE(rows, nv)                                                                     \
    _Pragma("GCC unroll 8") for (int r = 0; r < (rows); r++)                                       \
        _Pragma("GCC unroll 4") for (int v = 0; v < (nv); v++)

INLINE void add_rows(vf sum[][PANEL], const float *addend, size_t stride, size_t column,
                     size_t columns, const int rows, const int nv)
{
    EACH_OF_TILE(rows, nv)
    sum[r][v] += load_columns(addend + (size_t)r * stride, column + (size_t)v * VL, columns);
}

INLINE void store_rows(vf sum[][PANEL], float *y, size_t stride, size_t column, size_t columns,
                       const int rows, const int nv)
{
    EACH_OF_TILE(rows, nv)
    store_columns(y + (size_t)r * stride, column + (size_t)v * VL, columns, sum[r][v]);
}

/* Row by row, side by side. */
INLINE void lay_down(vf sum[][PANEL], vf *to, const int rows, const int nv)
{
    EACH_OF_TILE(rows, nv) to[r * nv + v] = sum[r][v];
}

INLINE void store_laid_down(const vf *sums, float *y, size_t stride, size_t column, size_t columns,
                            int rows, int nv)
{
    for (int r = 0; r < rows; r++, y += stride)
        for (int v = 0; v < nv; v++)
            store_columns(y, column + (size_t)v * VL, columns, *sums++);
}

INLINE void elu_some(vf *sums, const int some)
{
    vf x[GROUP];
    EACH(some) x[i] = sums[i];
    elu_each(x, some);
    EACH(some) sums[i] = x[i];
}

/* ELU of sums whose weights were multiplied by ELU_SCALE. */
OUT_OF_LINE void elu_tile(vf *sums, float *y, size_t stride, size_t column, size_t columns,
                          int rows, int nv)
{
    int i = 0, count = rows * nv;
    for (; i + GROUP <= count; i += GROUP)
        elu_some(sums + i, GROUP);
    for (; i + 2 <= count; i += 2)
        elu_some(sums + i, 2);
    if (i < count)
        elu_some(sums + i, 1);
    store_laid_down(sums, y, stride, column, columns, rows, nv);
}

/* Values and gates alternate in `sums`; the results lie side by side. */
INLINE void gate_some(const vf *sums, vf *to, const int some)
{
    vf value[GROUP], gate[GROUP];
    EACH(some)
    {
        value[i] = sums[2 * i];
        gate[i] = sums[2 * i + 1];
    }
    gate_each(value, gate, some);
    EACH(some) to[i] = value[i];
}

/* The GLU of a tile with `pairs` of values and gates a row. */
OUT_OF_LINE void gate_tile(vf *sums, float *y, size_t stride, size_t column, size_t columns,
                           int rows, int pairs)
{
    int i = 0, count = rows * pairs;
    for (; i + GROUP <= count; i += GROUP)
        gate_some(sums + 2 * i, sums + i, GROUP);
    for (; i + 2 <= count; i += 2)
        gate_some(sums + 2 * i, sums + i, 2);
    if (i < count)
        gate_some(sums + 2 * i, sums + i, 1);
    store_laid_down(sums, y, stride, column, columns, rows, pairs);
}

#endif
