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
struct md__cuda_launch md__cuda_launch_last(void);
int64_t md__cuda_launch_count(void);
/* While `only` is true, launches of this thread are checked and noted, and not done: for tests of
 * geometry, whose pointers may then be anything. */
void md__cuda_launch_only_note(bool only);
/* Where kernels of the current GPU set a word for each enum md__cuda_notice that they meet: memory
 * that the GPU can write; NULL: nowhere. The emulation tells device_host.h instead. */
enum md__cuda_notice { MD__CUDA_OVERFLOW, MD__CUDA_OUTSIDE, MD__CUDA_NOTICES };
int md__cuda_notices_at(unsigned *words);
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
    X(ABS)                                                                                         \
    X(ACOS)                                                                                        \
    X(ACOSH)                                                                                       \
    X(ASIN)                                                                                        \
    X(ASINH)                                                                                       \
    X(ATAN)                                                                                        \
    X(ATANH) X(CEIL) X(CELU) X(COS) X(COSH) X(ELU) X(ERF) X(EXP) X(FLOOR) X(GELU) X(HARD_SIGMOID)  \
        X(HARD_SWISH) X(LEAKY_RELU) X(LOG) X(MISH) X(NEG) X(RECIPROCAL) X(RELU) X(ROUND) X(SELU)   \
            X(SHRINK) X(SIGMOID) X(SIGN) X(SIN) X(SINH) X(SOFTPLUS) X(SOFTSIGN) X(SQRT) X(SWISH)   \
                X(TAN) X(TANH) X(THRESHOLDED_RELU) X(CLIP)

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
    X(SUB)                                                                                         \
    X(MUL)                                                                                         \
    X(DIV)                                                                                         \
    X(POW)                                                                                         \
    X(MIN)                                                                                         \
    X(MAX)                                                                                         \
    X(PRELU) X(SWIGLU) X(MOD) X(FMOD) X(EQUAL) X(LESS) X(LESS_OR_EQUAL) X(GREATER)                 \
        X(GREATER_OR_EQUAL) X(AND) X(OR) X(XOR)

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
/* Between float storages; finite numbers beyond float16 become its largest, not infinite. */
int md__cuda_convert(md__cuda_stream stream, int from, int to, const void *x, void *y,
                     int64_t count);

/* ---- matrix.cu ------------------------------------------------------------------------------- */

/*
 * y = function(alpha * a b + beta * bias + z) for each matrix of a batch; a [rows, inner] and
 * b [inner, columns] have any element strides, y and z [rows, columns] follow each other; rows of y
 * lie y_row apart when that is not 0 (one matrix only), a row of z serves z_repeat rows when that
 * is not 0. Tensors 0 and 1 of `batch` are a and b. bias: NULL, or with strides (0, 1) a row, (1,
 * 0) a column, (0, 0) a number, ...
 */
struct md__cuda_product {
    int storage;
    bool wide; /* y is float32, whatever the storage of the others */
    int64_t rows, inner, columns;
    int64_t a_row, a_column, b_row, b_column, bias_row, bias_column, y_row, z_repeat;
    struct md__cuda_map batch;
    const void *a, *b, *bias, *z;
    void *y;
    float alpha, beta;
    enum md__cuda_function function; /* MD__CUDA_IDENTITY: none */
    float function_a, function_b;
};
int md__cuda_product(md__cuda_stream stream, const struct md__cuda_product *product);
/* Where y, whose rows follow each other, already has a b: the rest of it. */
int md__cuda_product_end(md__cuda_stream stream, const struct md__cuda_product *product);
/* y [rows, columns] = x[:, :columns] * sigmoid(x[:, columns:]) */
int md__cuda_glu(md__cuda_stream stream, int storage, const void *x, void *y, int64_t rows,
                 int64_t columns);

/* ---- einsum.cu ------------------------------------------------------------------------------- */

/* y [kept.count] = sum over `inside` of the product of all operands: tensor k of both maps says
 * where an element of operand k lies. Float storage. */
struct md__cuda_contraction {
    int storage, operands;
    struct md__cuda_map kept, inside;
    const void *x[4];
    void *y;
};
int md__cuda_contract(md__cuda_stream stream, const struct md__cuda_contraction *contraction);

/* ---- rows.cu --------------------------------------------------------------------------------- */

enum md__cuda_line {
    MD__CUDA_LINE_SOFTMAX,
    MD__CUDA_LINE_LOG_SOFTMAX,
    MD__CUDA_LINE_HARDMAX,
    MD__CUDA_LINE_L1, /* LpNormalization */
    MD__CUDA_LINE_L2
};
/* Along the middle axis of [outer, n, inner]. */
int md__cuda_lines(md__cuda_stream stream, int storage, enum md__cuda_line kind, const void *x,
                   void *y, int64_t outer, int64_t n, int64_t inner);

/* y = norm(x + residual + addend) * scale + shift over rows of n. Everything but x and y may be
 * NULL. */
struct md__cuda_row_norm {
    int storage;
    bool centred; /* subtracts the mean */
    int64_t rows, n, scale_n, shift_n;
    int64_t residual_rows, addend_rows; /* after which they repeat */
    float epsilon;
    const void *x, *residual, *addend, *scale, *shift;
    void *y, *mean, *inverse, *sum; /* a mean and an inverse deviation a row; the sum normed */
};
int md__cuda_row_norm(md__cuda_stream stream, const struct md__cuda_row_norm *norm);

/*
 * y = function((x - mean) / deviation * scale + shift + z): x is [batch, channels, places], or with
 * `last` [batch, places, channels]. With `mean` and `variance` of each channel given; or computed
 * for each batch element and group of channels, in pieces of `piece` places.
 */
struct md__cuda_place_norm {
    int storage;
    bool last;
    int64_t batch, channels, places, groups, piece, pieces;
    float epsilon;
    const void *x, *scale, *shift, *mean, *variance, *z;
    void *y;
    float *moments; /* scratch: 2 batch * pieces * channels */
    float *factors; /* scratch: 3 batch * channels */
    enum md__cuda_function function;
    float function_a, function_b;
};
int md__cuda_place_norm(md__cuda_stream stream, const struct md__cuda_place_norm *norm);

/* ---- reduce.cu ------------------------------------------------------------------------------- */

enum md__cuda_reduction {
    MD__CUDA_REDUCE_SUM,
    MD__CUDA_REDUCE_MEAN,
    MD__CUDA_REDUCE_MAX,
    MD__CUDA_REDUCE_MIN,
    MD__CUDA_REDUCE_PROD,
    MD__CUDA_REDUCE_L1,
    MD__CUDA_REDUCE_L2,
    MD__CUDA_REDUCE_SUM_SQUARE,
    MD__CUDA_REDUCE_LOG_SUM,
    MD__CUDA_REDUCE_LOG_SUM_EXP
};
/* Tensor 0 of `kept` leads to the first element of each result, of `inside` from there to all.
 * I32 and I64 have no logarithms and no L2. */
int md__cuda_reduce(md__cuda_stream stream, int storage, enum md__cuda_reduction kind,
                    const struct md__cuda_map *kept, const struct md__cuda_map *inside,
                    const void *x, void *y);
/* Indices, int64, along the middle axis; `last`: of the last of equals. */
int md__cuda_arg(md__cuda_stream stream, int storage, bool least, bool last, const void *x, void *y,
                 int64_t outer, int64_t n, int64_t inner);
int md__cuda_running(md__cuda_stream stream, int storage, bool product, bool exclusive,
                     bool reverse, const void *x, void *y, int64_t outer, int64_t n, int64_t inner);
/* Sorted; y or at (int64) may be NULL. One thread does a line: for small k. */
int md__cuda_top_k(md__cuda_stream stream, int storage, bool largest, const void *x, void *y,
                   void *at, int64_t outer, int64_t n, int64_t inner, int64_t k);

/* ---- move.cu --------------------------------------------------------------------------------- */

/* Tensor 0 of the map is where elements of `bytes` bytes come from, tensor 1 where they go. */
int md__cuda_move(md__cuda_stream stream, int bytes, const struct md__cuda_map *map,
                  const void *from, void *to);
/* y [outer, count, inner] = x [outer, n, inner] at indices (I32 or I64), negative ones from the
 * end. What lies outside gives NaN (float storage) or 0. */
int md__cuda_gather(md__cuda_stream stream, int storage, int index_storage, const void *x,
                    const void *indices, void *y, int64_t outer, int64_t n, int64_t inner,
                    int64_t count);
/* Indices of the shape of y, which agrees with x but along `axis`; tensor 0 of the map: x without
 * that axis. */
int md__cuda_gather_elements(md__cuda_stream stream, int storage, int index_storage,
                             const struct md__cuda_map *map, const void *x, const void *indices,
                             void *y, int64_t n, int64_t axis_stride);

enum md__cuda_padding {
    MD__CUDA_PAD_CONSTANT,
    MD__CUDA_PAD_REFLECT,
    MD__CUDA_PAD_EDGE,
    MD__CUDA_PAD_WRAP
};
/* Axes as they are, not merged. value: one element, or NULL for 0. */
struct md__cuda_pad {
    int bytes, rank;
    enum md__cuda_padding mode;
    int64_t count, in[MD__CUDA_RANK], out[MD__CUDA_RANK], before[MD__CUDA_RANK];
    int64_t stride[MD__CUDA_RANK]; /* of x */
    const void *x, *value;
    void *y;
};
int md__cuda_pad(md__cuda_stream stream, const struct md__cuda_pad *pad);
/* Keeps the upper or lower triangle of matrices [batch, rows, columns]. */
int md__cuda_trilu(md__cuda_stream stream, int bytes, bool upper, int64_t diagonal, const void *x,
                   void *y, int64_t batch, int64_t rows, int64_t columns);

/* ---- conv.cu, pool.cu ------------------------------------------------------------------------ */

/* struct md_window of three axes, in numbers. */
struct md__cuda_window {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], before[3], after[3];
};

/*
 * y = function(convolution of x by w + bias + z). Weights as ONNX has them: [outputs, channels /
 * groups, taps], transposed [channels, outputs / groups, taps]. A channel of x lies x_channel
 * elements behind the one before it, a place x_place: [n, channels, places] has places and 1,
 * channels last 1 and channels. y and z likewise. bias [outputs] and z may be NULL.
 */
struct md__cuda_convolution {
    int storage;
    bool transposed;
    int64_t batch, channels, outputs, groups, taps, in_places, out_places;
    int64_t x_channel, x_place, y_channel, y_place;
    struct md__cuda_window window;
    const void *x, *w, *bias, *z;
    const void *w_last; /* [outputs, taps, channels / groups], for libraries; or NULL */
    void *y;
    enum md__cuda_function function;
    float function_a, function_b;
};
int md__cuda_convolve(md__cuda_stream stream, const struct md__cuda_convolution *convolution);
/* Where y already has the sums: bias, z and function alone. */
int md__cuda_convolve_end(md__cuda_stream stream, const struct md__cuda_convolution *convolution);
/* Of images: every tap is moved by offsets [batch, groups, taps, 2, places] and weighed by mask
 * [batch, groups, taps, places] or NULL. */
struct md__cuda_deformation {
    int64_t groups; /* of channels that move alike */
    const void *offsets, *mask;
};
int md__cuda_convolve_deformed(md__cuda_stream stream,
                               const struct md__cuda_convolution *convolution,
                               const struct md__cuda_deformation *deformation);
/* x and w are bytes, less a zero point (NULL: 0) of x and one, or one an output, of w; y is I32. */
struct md__cuda_byte_levels {
    bool x_is_signed, w_is_signed;
    int64_t w_zero_count;
    const void *x_zero, *w_zero;
};
int md__cuda_convolve_bytes(md__cuda_stream stream, const struct md__cuda_convolution *convolution,
                            const struct md__cuda_byte_levels *levels);

enum md__cuda_pool { MD__CUDA_POOL_MAX, MD__CUDA_POOL_AVERAGE, MD__CUDA_POOL_LP };
struct md__cuda_pooling {
    int storage; /* float, or U8 and I8 of the largest */
    enum md__cuda_pool kind;
    bool count_padding;
    float p; /* of POOL_LP */
    int64_t batch, channels, in_places, out_places;
    int64_t x_channel, x_place, y_channel, y_place; /* as in a convolution */
    struct md__cuda_window window;
    const void *x;
    void *y;
    bool by_columns;  /* of indices: planes are counted through by columns */
    int64_t *indices; /* of the largest; NULL, as with channels last */
};
int md__cuda_pool(md__cuda_stream stream, const struct md__cuda_pooling *pooling);

/* x / (bias + alpha * sum of the squares of its channels, `before` to `after` it) ^ beta of x [..,
 * channels, places]. */
struct md__cuda_lrn {
    int storage;
    int64_t channels, places, count, before, after; /* count: of x */
    float alpha, beta, bias;
    const void *x;
    void *y;
};
int md__cuda_lrn(md__cuda_stream stream, const struct md__cuda_lrn *lrn);

/* ---- resize.cu ------------------------------------------------------------------------------- */

enum md__cuda_coordinates { /* in the order of enum md_resize_coordinates */
                            MD__CUDA_RESIZE_HALF_PIXEL,
                            MD__CUDA_RESIZE_HALF_PIXEL_SYMMETRIC,
                            MD__CUDA_RESIZE_PYTORCH_HALF_PIXEL,
                            MD__CUDA_RESIZE_ALIGN_CORNERS,
                            MD__CUDA_RESIZE_ASYMMETRIC,
                            MD__CUDA_RESIZE_CROP,
                            MD__CUDA_RESIZE_HALF_PIXEL_NN
};
enum md__cuda_nearest {
    MD__CUDA_NEAREST_ROUND_FLOOR,
    MD__CUDA_NEAREST_ROUND_CEIL,
    MD__CUDA_NEAREST_FLOOR,
    MD__CUDA_NEAREST_CEIL
};
struct md__cuda_resize_axis {
    int64_t in, out, stride; /* stride: of x */
    double scale, begin, end;
    bool used;     /* false: keeps its elements */
    int64_t table; /* where its positions begin in the table */
    double filter; /* how far apart taps count as */
};
struct md__cuda_resize_source {
    int64_t low, high; /* of a filter: its first tap, maybe outside, and the one behind its last */
    float share, norm; /* how far it is from low; what the weights are divided by */
    bool outside;
};
/* y = function(resized x + z); at most three axes are used. */
struct md__cuda_resize {
    int storage, rank;
    bool linear;
    bool filtered, cubic, exclude_outside, normed; /* by more than two taps, or by their sum */
    float cubic_a;
    enum md__cuda_coordinates coordinates;
    enum md__cuda_nearest nearest;
    float extrapolation;
    int64_t count; /* of y */
    struct md__cuda_resize_axis axes[MD__CUDA_RANK];
    struct md__cuda_resize_source *table; /* scratch: an entry for each position of a used axis */
    const void *x, *z;
    void *y;
    enum md__cuda_function function;
    float function_a, function_b;
};
int md__cuda_resize(md__cuda_stream stream, const struct md__cuda_resize *resize);

/* ---- recurrent.cu ---------------------------------------------------------------------------- */

/*
 * x by its weights, without bias, as `projected` [directions, steps * batch (in x's order),
 * gates * units]; the recurrent weights turned to [directions, units, gates * units]. bias
 * [directions, 2 * gates * units], lengths [batch], h0, c0, y, y_h, y_c may be NULL. gates: 4
 * (LSTM, i o f c), 3 (GRU, z r h), 1 (RNN).
 */
struct md__cuda_recurrent {
    int storage;
    bool batch_first, reverse, reset_after;
    int64_t steps, batch, units, gates, directions;
    const void *projected, *turned, *bias, *h0, *c0;
    const int32_t *lengths;
    void *y, *y_h, *y_c;
};
int md__cuda_recurrent(md__cuda_stream stream, const struct md__cuda_recurrent *recurrent);

/* ---- gated.cu -------------------------------------------------------------------------------- */

/*
 * y = LN(glu(gated) + s; gamma, beta), where s is the skip stretched to `columns`, times
 * 2 sigmoid(skip_gate), through LN(; skip_gamma, skip_beta); gated [rows, 2 * columns] and what is
 * of the skip may be NULL. Rows of skip lie skip_row elements apart.
 */
struct md__cuda_gate_norm {
    int storage;
    int64_t rows, columns, skip_columns, skip_row;
    float epsilon;
    const void *gated, *skip, *skip_gate, *skip_gamma, *skip_beta, *gamma, *beta;
    void *y;
};
int md__cuda_gate_norm(md__cuda_stream stream, const struct md__cuda_gate_norm *norm);

#define MD__CUDA_VALUES 64
/* y = sum of weights[.., k] * values[k] [rows, columns]; `more`: added to what y holds. */
struct md__cuda_weighted_sum {
    int storage, values_count;
    bool more;
    int64_t rows, columns, weights_row;
    const void *weights, *values[MD__CUDA_VALUES];
    void *y;
};
int md__cuda_weighted_sum(md__cuda_stream stream, const struct md__cuda_weighted_sum *sum);

#ifdef __cplusplus
}
#endif
#endif
