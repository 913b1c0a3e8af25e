/*
 * The launchers of our CUDA kernels: plain pointers and sizes, callable from C.
 *
 * Every function puts its work on `stream` and returns at once: it never allocates, waits or reads
 * device memory, so all of them may be called while a graph is being captured. They return 0, a
 * cudaError, or MD__CUDA_REFUSED for what their callers should have refused. Pointers are device
 * memory. Sizes may be 0, which launches nothing.
 *
 * `storage` says how elements are stored: the numbers are those of enum md_dtype. "Float storage"
 * is float32, float16 or bfloat16; arithmetic is in float32 whatever the storage, and so are
 * statistics and sums.
 *
 * On machines without a GPU the same sources run under emulate.h, where a stream is NULL.
 */
#ifndef MD_KERNELS_CUDA_LAUNCH_H
#define MD_KERNELS_CUDA_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MD__CUDA_RANK    8
#define MD__CUDA_REFUSED (-1)

enum md__cuda_storage {
    MD__CUDA_F32 = 1,
    MD__CUDA_U8 = 2,
    MD__CUDA_I8 = 3,
    MD__CUDA_I32 = 6,
    MD__CUDA_I64 = 7,
    MD__CUDA_BOOL = 9,
    MD__CUDA_F16 = 10,
    MD__CUDA_BF16 = 16
};

typedef void *md__cuda_stream; /* a cudaStream_t */

/* ---- launches, recorded ---------------------------------------------------------------------- */

struct md__cuda_launch {
    const char *kernel;
    unsigned grid[3], block[3];
    size_t shared_bytes;
};

/* The latest launch of this thread, and how many there have been. */
extern struct md__cuda_launch md__cuda_launch_last(void);
extern int64_t md__cuda_launch_count(void);
/* The text of what a launcher returned. */
const char *md__cuda_error_text(int error);

/* ---- elementwise.cu -------------------------------------------------------------------------- */

/* Positions of an output in row-major order, and where each lies in up to four other tensors: axes
 * are merged where all of them allow it, strides are in elements, 0 along axes that repeat. */
struct md__cuda_map {
    int rank;
    int64_t count, dim[MD__CUDA_RANK], stride[4][MD__CUDA_RANK];
};

#define MD__CUDA_UNARY(X)                                                                          \
    X(IDENTITY)                                                                                    \
    X(ABS) X(ACOS) X(ACOSH) X(ASIN) X(ASINH) X(ATAN) X(ATANH) X(CEIL) X(CELU) X(COS) X(COSH)       \
        X(ELU) X(ERF) X(EXP) X(FLOOR) X(GELU) X(HARD_SIGMOID) X(HARD_SWISH) X(LEAKY_RELU) X(LOG)   \
            X(MISH) X(NEG) X(RECIPROCAL) X(RELU) X(ROUND) X(SELU) X(SHRINK) X(SIGMOID) X(SIGN)     \
                X(SIN) X(SINH) X(SOFTPLUS) X(SOFTSIGN) X(SQRT) X(SWISH) X(TAN) X(TANH)             \
                    X(THRESHOLDED_RELU) X(CLIP)

/* The name of an operator stands for it everywhere; GELU_TANH is Gelu's other form. */
enum md__cuda_function {
#define X(id) MD__CUDA_##id,
    MD__CUDA_UNARY(X)
#undef X
        MD__CUDA_GELU_TANH
};

/* y = function(x; a, b), float storage. x may be y. */
int md__cuda_unary(md__cuda_stream stream, int storage, enum md__cuda_function function, float a,
                   float b, const void *x, void *y, int64_t count);
/* Neg, Abs, Relu, Sign of I32 and I64; Not of BOOL is by xor with 1. */
int md__cuda_unary_int(md__cuda_stream stream, int storage, enum md__cuda_function function,
                       const void *x, void *y, int64_t count);
int md__cuda_not(md__cuda_stream stream, const void *x, void *y, int64_t count);
/* To BOOL: x is NaN, or infinite with the sign that is asked for. */
int md__cuda_test(md__cuda_stream stream, int storage, bool nan, bool negative, bool positive,
                  const void *x, void *y, int64_t count);
/* low, high: one element each, or NULL. Float storage, I32, I64. */
int md__cuda_clip(md__cuda_stream stream, int storage, const void *x, const void *low,
                  const void *high, void *y, int64_t count);

#define MD__CUDA_BINARY(X)                                                                         \
    X(ADD)                                                                                         \
    X(SUB) X(MUL) X(DIV) X(POW) X(MIN) X(MAX) X(PRELU) X(SWIGLU) X(MOD) X(FMOD) X(EQUAL) X(LESS)   \
        X(LESS_OR_EQUAL) X(GREATER) X(GREATER_OR_EQUAL) X(AND) X(OR) X(XOR)

enum md__cuda_pair {
#define X(id) MD__CUDA_PAIR_##id,
    MD__CUDA_BINARY(X)
#undef X
        MD__CUDA_PAIR_COUNT
};

/* y = pair(a, b) * scale; tensors 0 and 1 of the map are a and b. Integers and BOOL ignore alpha
 * and scale. y may be a or b where that one is not repeated. */
int md__cuda_binary(md__cuda_stream stream, int storage, enum md__cuda_pair pair, float alpha,
                    float scale, const struct md__cuda_map *map, const void *a, const void *b,
                    void *y);
/* To BOOL. */
int md__cuda_compare(md__cuda_stream stream, int storage, enum md__cuda_pair pair,
                     const struct md__cuda_map *map, const void *a, const void *b, void *y);
/* y = condition ? a : b, elements of `bytes` bytes; tensors 0, 1, 2 of the map. */
int md__cuda_where(md__cuda_stream stream, int bytes, const struct md__cuda_map *map,
                   const void *condition, const void *a, const void *b, void *y);
/* ---- cast.cu --------------------------------------------------------------------------------- */

/* Integers wrap; floats are cut towards 0, NaN gives 0. */
int md__cuda_cast(md__cuda_stream stream, int from, int to, const void *x, void *y, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
