/*
 * Networks with rows in lanes: a vector holds one feature of VL rows, so that layer norms and
 * softmaxes run down the features without ever summing across a vector, and a weight is one number
 * that multiplies whole vectors.
 *
 * A block is up to LANE_VECTORS vectors of rows; feature k of a block lies at
 * [k][LANE_VECTORS][VL]. A tile of OUT_TILE outputs by LANE_VECTORS vectors accumulates in
 * registers (24 of 32, or 12 of 16). Weights are packed [tile][input][OUT_TILE], zero-padded; for a
 * GLU a tile holds half as many values and then their gates, multiplied by GATE_SCALE.
 * Where there are AMX's tiles, lanes_tiles.h says how.
 */
#ifndef MD_KERNELS_CPU_ISA_LANES_H
#define MD_KERNELS_CPU_ISA_LANES_H

#include "kernels/cpu/isa/math.h"

#if defined(MD_ISA_amx)
#define LANE_VECTORS 2
#define OUT_TILE     VL
#else
#define LANE_VECTORS 3
#define OUT_TILE     (VECTOR_REGISTERS / 4)
#endif
#define LANE_ROWS (LANE_VECTORS * VL)

struct dense {
    size_t inputs, outputs; /* of a GLU: values */
    float *weights, *bias;  /* bias: one a packed output */
};

/* Features rounded up to whole tiles: what a buffer for outputs must hold. */
INLINE size_t tiled(size_t features)
{
    return (features + OUT_TILE - 1) / OUT_TILE * OUT_TILE;
}

INLINE float *feature(float *block, size_t k)
{
    return block + k * LANE_ROWS;
}

/* ---- memory that is wanted next ---------------------------------------------------------------
 */

/* Lines asked for with each input that is multiplied: more keep weights waiting for as long. */
#define ASKED 1

/* `count` pieces of `floats` floats, asked for line by line while something else is computed. */
struct ahead {
    const float *const *from;
    size_t count, floats, piece, at; /* piece, at: what is next */
};

/* Asks for some lines. A NULL asks for nothing. */
INLINE void ask(struct ahead *ahead, int lines)
{
    for (; ahead && lines > 0 && ahead->piece < ahead->count; lines--) {
        __builtin_prefetch(ahead->from[ahead->piece] + ahead->at, 0, 2);
        ahead->at += 64 / sizeof(float);
        if (ahead->at >= ahead->floats) {
            ahead->at = 0;
            ahead->piece++;
        }
    }
}

/* ---- dense layers in registers --------------------------------------------------------------- */

#if !defined(MD_ISA_amx)

/* Before a thread's first layer, and after its last one. */
INLINE void lanes_begin(void)
{
}

INLINE void lanes_end(void)
{
}

INLINE size_t dense_weights(size_t inputs, size_t outputs, bool gated)
{
    return inputs * tiled(outputs << gated);
}

INLINE size_t dense_biases(size_t outputs, bool gated)
{
    return tiled(outputs << gated);
}

/* The weight of input k for output o; `gate`: for the gate of value o. */
INLINE void put_dense_weight(struct dense *dense, size_t k, size_t o, bool gated, bool gate,
                             float weight)
{
    size_t width = gated ? OUT_TILE / 2 : OUT_TILE;
    size_t at = (o / width * dense->inputs + k) * OUT_TILE + o % width + (gate ? width : 0);
    dense->weights[at] = weight;
}

INLINE void put_dense_bias(struct dense *dense, size_t o, bool gated, bool gate, float bias)
{
    size_t width = gated ? OUT_TILE / 2 : OUT_TILE;
    dense->bias[o / width * OUT_TILE + o % width + (gate ? width : 0)] = bias;
}

/* sum = bias + weights * x for one tile. */
INLINE void multiply_lanes(vf sum[OUT_TILE][LANE_VECTORS], const float *w, const float *bias,
                           const float *x, size_t inputs, struct ahead *ahead, const int vectors)
{
#pragma GCC unroll 8
    for (int o = 0; o < OUT_TILE; o++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sum[o][v] = splat(bias[o]);
    for (size_t k = 0; k < inputs; k++, w += OUT_TILE, x += LANE_ROWS) {
        vf in[LANE_VECTORS];
        ask(ahead, ASKED);
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            in[v] = load(x + v * VL);
#pragma GCC unroll 8
        for (int o = 0; o < OUT_TILE; o++) {
            vf weight = splat(w[o]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[o][v] += weight * in[v];
        }
    }
}

/* y = dense(x). y has room for tiled(outputs) features. */
INLINE void dense_lanes(const struct dense *dense, const float *x, float *y, struct ahead *ahead,
                        const int vectors)
{
    const float *w = dense->weights, *bias = dense->bias;
    for (size_t first = 0; first < dense->outputs; first += OUT_TILE) {
        vf sum[OUT_TILE][LANE_VECTORS];
        multiply_lanes(sum, w, bias, x, dense->inputs, ahead, vectors);
#pragma GCC unroll 8
        for (int o = 0; o < OUT_TILE; o++, y += LANE_ROWS)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                store(y + v * VL, sum[o][v]);
        w += dense->inputs * OUT_TILE;
        bias += OUT_TILE;
    }
}

/* Has a tile's gates wait in memory, where there would be no registers left for what uses them. */
#if defined(MD_ISA_avx512)
#define LEAVE_REGISTERS(x) __asm__ volatile("" : : "r"(x) : "memory")
#else
#define LEAVE_REGISTERS(x) ((void)0)
#endif

/* y[f] += the gated sums of `features` features. */
INLINE void add_gated_features(vf sum[][LANE_VECTORS], vf gates[][LANE_VECTORS], float *y,
                               vf total[LANE_VECTORS], const int features, const int vectors)
{
    vf value[2 * LANE_VECTORS], gate[2 * LANE_VECTORS];
    const int count = features * vectors;
    EACH(count)
    {
        value[i] = sum[i / vectors][i % vectors];
        gate[i] = gates[i / vectors][i % vectors];
    }
    gate_each(value, gate, count);
    EACH(count)
    {
        float *at = y + i / vectors * LANE_ROWS + i % vectors * VL;
        vf whole = load(at) + value[i];
        store(at, whole);
        total[i % vectors] += whole;
    }
}

/* y += GLU(x), feature by feature, gates scaled; total gets the sums over y's features. */
INLINE void add_glu_lanes(const struct dense *dense, const float *x, float *y,
                          vf total[LANE_VECTORS], struct ahead *ahead, const int vectors)
{
    const float *w = dense->weights, *bias = dense->bias;
    const size_t width = OUT_TILE / 2;
    for (size_t first = 0; first < dense->outputs; first += width) {
        vf sum[OUT_TILE][LANE_VECTORS], gates[OUT_TILE / 2][LANE_VECTORS];
        multiply_lanes(sum, w, bias, x, dense->inputs, ahead, vectors);
#pragma GCC unroll 4
        for (size_t o = 0; o < width; o++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                gates[o][v] = sum[o + width][v];
        LEAVE_REGISTERS(gates);
#pragma GCC unroll 2
        for (size_t o = 0; o < width; o += 2, y += 2 * LANE_ROWS) {
            if (first + o + 1 < dense->outputs)
                add_gated_features(sum + o, gates + o, y, total, 2, vectors);
            else if (first + o < dense->outputs)
                add_gated_features(sum + o, gates + o, y, total, 1, vectors);
        }
        w += dense->inputs * OUT_TILE;
        bias += OUT_TILE;
    }
}

#endif

/* ---- norms ----------------------------------------------------------------------------------- */

/* 1 / sqrt(variance + epsilon) of `count` features around their means, in two passes. */
INLINE void inverse_deviation(const float *y, size_t count, const vf mean[LANE_VECTORS],
                              float epsilon, vf inverse[LANE_VECTORS], const int vectors)
{
    vf squares[LANE_VECTORS] = {0};
    for (size_t u = 0; u < count; u++, y += LANE_ROWS)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            vf difference = load(y + v * VL) - mean[v];
            squares[v] += difference * difference;
        }
    for (int v = 0; v < vectors; v++)
        inverse[v] = vrsqrt(squares[v] * (1.0f / (float)count) + epsilon);
}

#endif
