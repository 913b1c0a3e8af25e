/*
 * The CPU backends: the reference table, and one table for each instruction set, which starts as a
 * copy of the reference and has its slots replaced by the fast kernels.
 */
#include "kernels/cpu/cpu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/isa/table.h"
#include "kernels/cpu/move.h"
#include "kernels/cpu/ref.h"

static const struct md_backend reference = {
    .name = "cpu-reference",
    .kernels =
        {
            [MD_OP_IDENTITY] = &md__ref_copy,
            [MD_OP_ABS] = &md__ref_unary,
            [MD_OP_ACOS] = &md__ref_unary,
            [MD_OP_ACOSH] = &md__ref_unary,
            [MD_OP_ASIN] = &md__ref_unary,
            [MD_OP_ASINH] = &md__ref_unary,
            [MD_OP_ATAN] = &md__ref_unary,
            [MD_OP_ATANH] = &md__ref_unary,
            [MD_OP_BITWISE_NOT] = &md__ref_unary,
            [MD_OP_CEIL] = &md__ref_unary,
            [MD_OP_CELU] = &md__ref_unary,
            [MD_OP_COS] = &md__ref_unary,
            [MD_OP_COSH] = &md__ref_unary,
            [MD_OP_ELU] = &md__ref_unary,
            [MD_OP_ERF] = &md__ref_unary,
            [MD_OP_EXP] = &md__ref_unary,
            [MD_OP_FLOOR] = &md__ref_unary,
            [MD_OP_GELU] = &md__ref_unary,
            [MD_OP_HARD_SIGMOID] = &md__ref_unary,
            [MD_OP_HARD_SWISH] = &md__ref_unary,
            [MD_OP_IS_INF] = &md__ref_unary,
            [MD_OP_IS_NAN] = &md__ref_unary,
            [MD_OP_LEAKY_RELU] = &md__ref_unary,
            [MD_OP_LOG] = &md__ref_unary,
            [MD_OP_MISH] = &md__ref_unary,
            [MD_OP_NEG] = &md__ref_unary,
            [MD_OP_NOT] = &md__ref_unary,
            [MD_OP_RECIPROCAL] = &md__ref_unary,
            [MD_OP_RELU] = &md__ref_unary,
            [MD_OP_ROUND] = &md__ref_unary,
            [MD_OP_SELU] = &md__ref_unary,
            [MD_OP_SHRINK] = &md__ref_unary,
            [MD_OP_SIGMOID] = &md__ref_unary,
            [MD_OP_SIGN] = &md__ref_unary,
            [MD_OP_SIN] = &md__ref_unary,
            [MD_OP_SINH] = &md__ref_unary,
            [MD_OP_SOFTPLUS] = &md__ref_unary,
            [MD_OP_SOFTSIGN] = &md__ref_unary,
            [MD_OP_SQRT] = &md__ref_unary,
            [MD_OP_SWISH] = &md__ref_unary,
            [MD_OP_TAN] = &md__ref_unary,
            [MD_OP_TANH] = &md__ref_unary,
            [MD_OP_THRESHOLDED_RELU] = &md__ref_unary,
            [MD_OP_CLIP] = &md__ref_clip,
            [MD_OP_CAST] = &md__ref_cast,
            [MD_OP_CAST_LIKE] = &md__ref_cast,
            [MD_OP_BIT_CAST] = &md__ref_bit_cast,
            [MD_OP_ADD] = &md__ref_binary,
            [MD_OP_SUB] = &md__ref_binary,
            [MD_OP_MUL] = &md__ref_binary,
            [MD_OP_DIV] = &md__ref_binary,
            [MD_OP_POW] = &md__ref_binary,
            [MD_OP_MOD] = &md__ref_binary,
            [MD_OP_PRELU] = &md__ref_binary,
            [MD_OP_SWIGLU] = &md__ref_binary,
            [MD_OP_MIN] = &md__ref_binary,
            [MD_OP_MAX] = &md__ref_binary,
            [MD_OP_SUM] = &md__ref_binary,
            [MD_OP_MEAN] = &md__ref_binary,
            [MD_OP_BITWISE_AND] = &md__ref_binary,
            [MD_OP_BITWISE_OR] = &md__ref_binary,
            [MD_OP_BITWISE_XOR] = &md__ref_binary,
            [MD_OP_BIT_SHIFT] = &md__ref_binary,
            [MD_OP_EQUAL] = &md__ref_binary,
            [MD_OP_LESS] = &md__ref_binary,
            [MD_OP_LESS_OR_EQUAL] = &md__ref_binary,
            [MD_OP_GREATER] = &md__ref_binary,
            [MD_OP_GREATER_OR_EQUAL] = &md__ref_binary,
            [MD_OP_AND] = &md__ref_binary,
            [MD_OP_OR] = &md__ref_binary,
            [MD_OP_XOR] = &md__ref_binary,
            [MD_OP_WHERE] = &md__ref_where,
            [MD_OP_MATMUL] = &md__ref_matmul,
            [MD_OP_GEMM] = &md__ref_gemm,
            [MD_OP_DET] = &md__ref_det,
            [MD_OP_EINSUM] = &md__ref_einsum,
            [MD_OP_QUANTIZE_LINEAR] = &md__ref_quantize,
            [MD_OP_DEQUANTIZE_LINEAR] = &md__ref_dequantize,
            [MD_OP_DYNAMIC_QUANTIZE_LINEAR] = &md__ref_dynamic_quantize,
            [MD_OP_MATMUL_INTEGER] = &md__ref_matmul_integer,
            [MD_OP_QLINEAR_MATMUL] = &md__ref_qlinear_matmul,
            [MD_OP_RNN] = &md__ref_recurrent,
            [MD_OP_LSTM] = &md__ref_recurrent,
            [MD_OP_GRU] = &md__ref_recurrent,
            [MD_OP_LAYER_NORM] = &md__ref_layer_norm,
            [MD_OP_REDUCE_L1] = &md__ref_reduce,
            [MD_OP_REDUCE_L2] = &md__ref_reduce,
            [MD_OP_REDUCE_LOG_SUM] = &md__ref_reduce,
            [MD_OP_REDUCE_LOG_SUM_EXP] = &md__ref_reduce,
            [MD_OP_REDUCE_MAX] = &md__ref_reduce,
            [MD_OP_REDUCE_MEAN] = &md__ref_reduce,
            [MD_OP_REDUCE_MIN] = &md__ref_reduce,
            [MD_OP_REDUCE_PROD] = &md__ref_reduce,
            [MD_OP_REDUCE_SUM] = &md__ref_reduce,
            [MD_OP_REDUCE_SUM_SQUARE] = &md__ref_reduce,
            [MD_OP_ARG_MAX] = &md__ref_arg,
            [MD_OP_ARG_MIN] = &md__ref_arg,
            [MD_OP_SOFTMAX] = &md__ref_lines,
            [MD_OP_LOG_SOFTMAX] = &md__ref_lines,
            [MD_OP_HARDMAX] = &md__ref_lines,
            [MD_OP_LP_NORMALIZATION] = &md__ref_lines,
            [MD_OP_CUM_SUM] = &md__ref_lines,
            [MD_OP_CUM_PROD] = &md__ref_lines,
            [MD_OP_NEGATIVE_LOG_LIKELIHOOD_LOSS] = &md__ref_loss,
            [MD_OP_SOFTMAX_CROSS_ENTROPY_LOSS] = &md__ref_loss,
            [MD_OP_RMS_NORM] = &md__ref_layer_norm,
            [MD_OP_SIMPLIFIED_LAYER_NORM] = &md__ref_layer_norm,
            [MD_OP_SKIP_LAYER_NORM] = &md__ref_skip_norm,
            [MD_OP_SKIP_SIMPLIFIED_NORM] = &md__ref_skip_norm,
            [MD_OP_EMBED_LAYER_NORM] = &md__ref_embed_norm,
            [MD_OP_BATCH_NORM] = &md__ref_batch_norm,
            [MD_OP_INSTANCE_NORM] = &md__ref_group_norm,
            [MD_OP_GROUP_NORM] = &md__ref_group_norm,
            [MD_OP_LRN] = &md__ref_lrn,
            [MD_OP_MEAN_VARIANCE_NORM] = &md__ref_mean_variance,
            [MD_OP_RESIZE] = &md__ref_resize,
            [MD_OP_GRID_SAMPLE] = &md__ref_grid_sample,
            [MD_OP_AFFINE_GRID] = &md__ref_affine_grid,
            [MD_OP_ROI_ALIGN] = &md__ref_roi_align,
            [MD_OP_ATTENTION] = &md__ref_attention,
            [MD_OP_ROTARY_EMBEDDING] = &md__ref_rotary,
            [MD_OP_LINEAR_ATTENTION] = &md__ref_linear_attention,
            [MD_OP_FUSED_MATMUL] = &md__ref_fused_matmul,
            [MD_OP_BIAS_GELU] = &md__ref_bias_gelu,
            [MD_OP_FAST_GELU] = &md__ref_bias_gelu,
            [MD_OP_QUICK_GELU] = &md__ref_bias_gelu,
            [MD_OP_FUSED_CONV] = &md__ref_fused_conv,
            [MD_OP_DYNAMIC_QUANTIZE_MATMUL] = &md__ref_quantized_matmul,
            [MD_OP_MATMUL_INTEGER_TO_FLOAT] = &md__ref_quantized_matmul,
            [MD_OP_MATMUL_NBITS] = &md__ref_matmul_nbits,
            [MD_OP_MS_ATTENTION] = &md__ref_ms_attention,
            [MD_OP_MS_QATTENTION] = &md__ref_ms_attention,
            [MD_OP_MULTI_HEAD_ATTENTION] = &md__ref_multi_head,
            [MD_OP_GROUP_QUERY_ATTENTION] = &md__ref_group_query,
            [MD_OP_MS_ROTARY_EMBEDDING] = &md__ref_ms_rotary,
            [MD_OP_CONV] = &md__ref_conv,
            [MD_OP_CONV_TRANSPOSE] = &md__ref_conv,
            [MD_OP_CONV_INTEGER] = &md__ref_conv_integer,
            [MD_OP_QLINEAR_CONV] = &md__ref_qlinear_conv,
            [MD_OP_DEFORM_CONV] = &md__ref_deform_conv,
            [MD_OP_CAUSAL_CONV] = &md__ref_causal_conv,
            [MD_OP_MAX_POOL] = &md__ref_pool,
            [MD_OP_AVERAGE_POOL] = &md__ref_pool,
            [MD_OP_LP_POOL] = &md__ref_pool,
            [MD_OP_GLOBAL_MAX_POOL] = &md__ref_pool,
            [MD_OP_GLOBAL_AVERAGE_POOL] = &md__ref_pool,
            [MD_OP_GLOBAL_LP_POOL] = &md__ref_pool,
            [MD_OP_MAX_UNPOOL] = &md__ref_max_unpool,
            [MD_OP_MAX_ROI_POOL] = &md__ref_max_roi_pool,
            [MD_OP_RESHAPE] = &md__ref_copy,
            [MD_OP_SQUEEZE] = &md__ref_copy,
            [MD_OP_UNSQUEEZE] = &md__ref_copy,
            [MD_OP_TRANSPOSE] = &md__ref_transpose,
            [MD_OP_CONCAT] = &md__ref_concat,
            [MD_OP_SPLIT] = &md__ref_split,
            [MD_OP_SLICE] = &md__ref_slice,
            [MD_OP_GATHER] = &md__ref_gather,
            [MD_OP_EXPAND] = &md__ref_expand,
            [MD_OP_SHAPE] = &md__ref_shape,
            [MD_OP_CONSTANT_OF_SHAPE] = &md__ref_constant_of_shape,
            [MD_OP_RANGE] = &md__ref_range,
            [MD_OP_EYE_LIKE] = &md__ref_eye_like,
            [MD_OP_RANDOM_NORMAL] = &md__ref_random,
            [MD_OP_RANDOM_NORMAL_LIKE] = &md__ref_random,
            [MD_OP_RANDOM_UNIFORM] = &md__ref_random,
            [MD_OP_RANDOM_UNIFORM_LIKE] = &md__ref_random,
            [MD_OP_BERNOULLI] = &md__ref_bernoulli,
            [MD_OP_MULTINOMIAL] = &md__ref_multinomial,
            [MD_OP_DFT] = &md__ref_dft,
            [MD_OP_STFT] = &md__ref_stft,
            [MD_OP_HANN_WINDOW] = &md__ref_window,
            [MD_OP_HAMMING_WINDOW] = &md__ref_window,
            [MD_OP_BLACKMAN_WINDOW] = &md__ref_window,
            [MD_OP_MEL_WEIGHT_MATRIX] = &md__ref_mel_weight_matrix,
            [MD_OP_FLATTEN] = &md__ref_copy,
            [MD_OP_SIZE] = &md__ref_size,
            [MD_OP_DEPTH_TO_SPACE] = &md__ref_blocks,
            [MD_OP_SPACE_TO_DEPTH] = &md__ref_blocks,
            [MD_OP_PAD] = &md__ref_pad,
            [MD_OP_CENTER_CROP_PAD] = &md__ref_center_crop_pad,
            [MD_OP_COL2IM] = &md__ref_col2im,
            [MD_OP_DROPOUT] = &md__ref_dropout,
            [MD_OP_GATHER_ELEMENTS] = &md__ref_gather_elements,
            [MD_OP_GATHER_ND] = &md__ref_gather_nd,
            [MD_OP_SCATTER_ELEMENTS] = &md__ref_scatter_elements,
            [MD_OP_SCATTER_ND] = &md__ref_scatter_nd,
            [MD_OP_TENSOR_SCATTER] = &md__ref_tensor_scatter,
            [MD_OP_TILE] = &md__ref_tile,
            [MD_OP_REVERSE_SEQUENCE] = &md__ref_reverse_sequence,
            [MD_OP_ONE_HOT] = &md__ref_one_hot,
            [MD_OP_TOP_K] = &md__ref_top_k,
            [MD_OP_TRILU] = &md__ref_trilu,
            [MD_OP_NON_ZERO] = &md__ref_non_zero,
            [MD_OP_COMPRESS] = &md__ref_compress,
            [MD_OP_UNIQUE] = &md__ref_unique,
            [MD_OP_NON_MAX_SUPPRESSION] = &md__ref_non_max_suppression,
        },
};

const struct md_backend *md_cpu_reference(void)
{
    return &reference;
}

/* Filled once, by whoever asks first; from then on only read. */
static struct md_backend fast[MD_ISA_BEST];
static pthread_once_t fast_once = PTHREAD_ONCE_INIT;

/* Movement is the same machine code everywhere; the rest comes per instruction set. */
static void fill_one(enum md_cpu_isa isa, const char *name, void (*fill)(struct md_backend *))
{
    const struct md_kernel **kernels = fast[isa].kernels;
    fast[isa] = reference;
    fast[isa].name = name;
    kernels[MD_OP_IDENTITY] = kernels[MD_OP_RESHAPE] = &md__copy;
    kernels[MD_OP_SQUEEZE] = kernels[MD_OP_UNSQUEEZE] = kernels[MD_OP_FLATTEN] = &md__copy;
    kernels[MD_OP_TRANSPOSE] = &md__transpose;
    kernels[MD_OP_CONCAT] = &md__concat;
    kernels[MD_OP_SPLIT] = &md__split;
    kernels[MD_OP_SLICE] = &md__slice;
    kernels[MD_OP_GATHER] = &md__gather;
    kernels[MD_OP_EXPAND] = &md__expand;
    fill(&fast[isa]);
}

bool md_cpu_may_use_tiles(void)
{
#if defined(__x86_64__)
    enum { ASK_FOR_STATE = 0x1023, TILE_DATA = 18 };
    return __builtin_cpu_supports("amx-tile") &&
           syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* A backend without a name is one that this processor cannot run. */
static void fill_all(void)
{
    fill_one(MD_ISA_PORTABLE, "cpu-portable", md__fill_portable);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        fill_one(MD_ISA_AVX2, "cpu-avx2", md__fill_avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        fill_one(MD_ISA_AVX512, "cpu-avx512", md__fill_avx512);
    if (fast[MD_ISA_AVX512].name && __builtin_cpu_supports("amx-bf16") && md_cpu_may_use_tiles()) {
        fill_one(MD_ISA_AMX, "cpu-amx", md__fill_avx512);
        md__fill_amx(&fast[MD_ISA_AMX]);
    }
#endif
}

const struct md_backend *md_cpu_backend(enum md_cpu_isa isa)
{
    pthread_once(&fast_once, fill_all);
    if (isa < MD_ISA_BEST)
        return fast[isa].name ? &fast[isa] : NULL;
    const struct md_backend *best = NULL;
    for (int i = 0; i < MD_ISA_BEST; i++)
        best = fast[i].name ? &fast[i] : best;
    return best;
}

static _Atomic enum md_cpu_int8 int8_limit = MD_INT8_BEST;

void md_cpu_int8_set_limit(enum md_cpu_int8 limit)
{
    atomic_store(&int8_limit, limit);
}

enum md_cpu_int8 md_cpu_int8_limit(void)
{
    return atomic_load_explicit(&int8_limit, memory_order_relaxed);
}
