/*
 * Dense products by cuBLASLt, with bias, residual, Relu and Gelu (by tanh) in its epilogue; other
 * functions follow in a launch of their own.
 *
 * Our matrices lie by rows, cuBLASLt's by columns: y = a b is asked for as y' = b' a', which is the
 * same memory. The first run of a shape, which is not captured, times the heuristic's first
 * algorithms, and the fastest is kept, beyond the process as well (choices.h). A shape that is new
 * while work is captured gets the heuristic's first, which takes host time only. Float32 is
 * multiplied in float32, not in TF32; sums are float32 always, parts of sums that are put together
 * through memory as well.
 */
#include "kernels/cuda/gpu/choices.h"
#include "kernels/cuda/gpu/libraries.h"

#if MD__WITH_CUBLASLT

#include <cublasLt.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY    "libcublasLt.so.13"
#define KEPT       512 /* shapes; the oldest makes room */
#define CANDIDATES 8   /* of the heuristic's, the first ones */

#define CALLS(X)                                                                                   \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtGetVersion)                                                                          \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulAlgoGetHeuristic)                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatrixLayoutSetAttribute)

/* What tells one choice of algorithm from another; without padding, compared as bytes. */
struct key {
    int64_t m, n, k, lda, ldb, batch, stride_a, stride_b;
    int32_t storage, stored, turn_a, turn_b, epilogue, has_z;
    uint32_t align_a, align_b, align_c, align_d;
};

struct kept {
    struct key key;
    cublasLtMatmulAlgo_t algorithm;
};

struct md__cublaslt {
    void *library;
    cublasLtHandle_t handle;
    struct kept kept[KEPT];
    int count, next;
    struct md__choices choices;
#define X(name) __typeof__(&(name)) name;
    CALLS(X)
#undef X
};

struct md__cublaslt *md__cublaslt_new(void)
{
    struct md__cublaslt *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    bool complete = made->library != NULL;
#define X(name)                                                                                    \
    complete = complete && (made->name = (__typeof__(&(name)))dlsym(made->library, #name)) != NULL;
    CALLS(X)
#undef X
    if (complete && made->cublasLtCreate(&made->handle) == CUBLAS_STATUS_SUCCESS) {
        md__choices_open(&made->choices, "cublaslt", made->cublasLtGetVersion());
        return made;
    }
    md__cublaslt_delete(made);
    return NULL;
}

void md__cublaslt_delete(struct md__cublaslt *lt)
{
    if (!lt)
        return;
    if (lt->handle)
        lt->cublasLtDestroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    free(lt);
}

/* ---- what is asked for ----------------------------------------------------------------------- */

/* Descriptors of one product; whatever was made is destroyed by fini. */
struct asked {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t preference;
};

static cudaDataType_t type_of(int storage)
{
    return storage == MD__CUDA_F16    ? CUDA_R_16F
           : storage == MD__CUDA_BF16 ? CUDA_R_16BF
                                      : CUDA_R_32F;
}

/* How far the address is a power of two's multiple: up to 256. */
static uint32_t alignment(const void *at)
{
    uint32_t bytes = 256;
    while ((uintptr_t)at % bytes)
        bytes /= 2;
    return bytes;
}

static bool epilogue_of(const struct md__cuda_product *p, bool bias, int32_t *epilogue)
{
    switch (p->function) {
    case MD__CUDA_RELU:
        *epilogue = bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
        return true;
    case MD__CUDA_GELU_TANH:
        *epilogue = bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
        return true;
    default:
        *epilogue = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
        return p->function == MD__CUDA_IDENTITY;
    }
}

/* What of p cuBLASLt does: bias and residual when y is stored as they are, a function that is an
 * epilogue. */
static struct md__cuda_product part_of(const struct md__cuda_product *p)
{
    struct md__cuda_product part = *p;
    bool bare = p->wide && p->storage != MD__CUDA_F32 && (p->bias || p->z);
    int32_t unused;
    if (bare)
        part.bias = part.z = NULL;
    if (bare || !epilogue_of(p, p->bias != NULL, &unused))
        part.function = MD__CUDA_IDENTITY;
    return part;
}

/* What is left of it. */
static int finish(md__cuda_stream stream, const struct md__cuda_product *p,
                  const struct md__cuda_product *part)
{
    struct md__cuda_product rest = *p;
    rest.alpha = 1;
    rest.bias = part->bias ? NULL : p->bias;
    rest.z = part->z ? NULL : p->z;
    if (!rest.bias && !rest.z && part->function == p->function)
        return 0;
    return md__cuda_product_end(stream, &rest);
}

/* A side of the product, [height, width] by rows: its leading dimension, and whether it is turned
 * as cuBLASLt sees it; false: it lies in neither way. */
static bool side_of(int64_t row, int64_t column, int64_t height, int64_t width, int32_t *turn,
                    int64_t *leading)
{
    *turn = column != 1 || row < width;
    *leading = *turn ? column : row;
    return !*turn || (row == 1 && column >= height);
}

/* False: our own kernel's. */
static bool key_of(const struct md__cuda_product *p, struct key *key)
{
    memset(key, 0, sizeof *key);
    bool bias = p->bias != NULL;
    *key = (struct key){.m = p->columns,
                        .n = p->rows,
                        .k = p->inner,
                        .batch = p->batch.count,
                        .stride_a = p->batch.stride[1][0],
                        .stride_b = p->batch.stride[0][0],
                        .storage = p->storage,
                        .stored = p->wide ? MD__CUDA_F32 : p->storage,
                        .has_z = p->z != NULL,
                        .align_a = alignment(p->b),
                        .align_b = alignment(p->a),
                        .align_c = alignment(p->z ? p->z : p->y),
                        .align_d = alignment(p->y)};
    epilogue_of(p, bias, &key->epilogue);
    bool fits = side_of(p->b_row, p->b_column, p->inner, p->columns, &key->turn_a, &key->lda) &&
                side_of(p->a_row, p->a_column, p->rows, p->inner, &key->turn_b, &key->ldb);
    bool row_bias = !bias || (p->bias_column == 1 && p->bias_row == 0 && p->beta == 1);
    bool dense = p->y_row == 0 && p->z_repeat == 0 && p->batch.rank == 1;
    return fits && row_bias && dense && p->inner > 0 && p->columns <= INT32_MAX &&
           p->rows <= INT32_MAX && p->inner <= INT32_MAX && p->batch.count <= INT32_MAX;
}

static cublasStatus_t layout(const struct md__cublaslt *lt, cublasLtMatrixLayout_t *made,
                             const struct key *key, int storage, int64_t rows, int64_t columns,
                             int64_t leading, int64_t stride)
{
    int32_t batch = (int32_t)key->batch;
    cublasStatus_t status = lt->cublasLtMatrixLayoutCreate(made, type_of(storage), (uint64_t)rows,
                                                           (uint64_t)columns, leading);
    if (!status)
        status = lt->cublasLtMatrixLayoutSetAttribute(*made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                      &batch, sizeof batch);
    if (!status)
        status = lt->cublasLtMatrixLayoutSetAttribute(
            *made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride);
    return status;
}

static cublasStatus_t describe(const struct md__cublaslt *lt, struct asked *asked,
                               const struct key *key, const void *bias)
{
    int32_t turn_a = key->turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    int32_t turn_b = key->turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t status =
        lt->cublasLtMatmulDescCreate(&asked->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
#define SET(attribute, value)                                                                      \
    if (!status)                                                                                   \
    status = lt->cublasLtMatmulDescSetAttribute(                                                   \
        asked->operation, CUBLASLT_MATMUL_DESC_##attribute, &(value), sizeof(value))
    SET(TRANSA, turn_a);
    SET(TRANSB, turn_b);
    SET(EPILOGUE, key->epilogue);
    if (bias)
        SET(BIAS_POINTER, bias);
#undef SET
    if (!status)
        status = layout(lt, &asked->a, key, key->storage, key->turn_a ? key->k : key->m,
                        key->turn_a ? key->m : key->k, key->lda, key->stride_a);
    if (!status)
        status = layout(lt, &asked->b, key, key->storage, key->turn_b ? key->n : key->k,
                        key->turn_b ? key->k : key->n, key->ldb, key->stride_b);
    return status
               ? status
               : layout(lt, &asked->d, key, key->stored, key->m, key->n, key->m, key->m * key->n);
}

static void forget(const struct md__cublaslt *lt, struct asked *asked)
{
    if (asked->preference)
        lt->cublasLtMatmulPreferenceDestroy(asked->preference);
    if (asked->d)
        lt->cublasLtMatrixLayoutDestroy(asked->d);
    if (asked->b)
        lt->cublasLtMatrixLayoutDestroy(asked->b);
    if (asked->a)
        lt->cublasLtMatrixLayoutDestroy(asked->a);
    if (asked->operation)
        lt->cublasLtMatmulDescDestroy(asked->operation);
}

/* ---- choice and run -------------------------------------------------------------------------- */

/* The heuristic's algorithms that fit the workspace, best first; how many. */
static int ask(const struct md__cublaslt *lt, struct asked *asked, const struct key *key,
               cublasLtMatmulHeuristicResult_t *found, int most)
{
    size_t bytes = MD__LIBRARY_WORKSPACE_BYTES;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int count = 0, fit = 0;
    cublasStatus_t status = lt->cublasLtMatmulPreferenceCreate(&asked->preference);
#define SET(attribute, value)                                                                      \
    if (!status)                                                                                   \
    status = lt->cublasLtMatmulPreferenceSetAttribute(                                             \
        asked->preference, CUBLASLT_MATMUL_PREF_##attribute, &(value), sizeof(value))
    SET(MAX_WORKSPACE_BYTES, bytes);
    SET(REDUCTION_SCHEME_MASK, schemes);
    SET(MIN_ALIGNMENT_A_BYTES, key->align_a);
    SET(MIN_ALIGNMENT_B_BYTES, key->align_b);
    SET(MIN_ALIGNMENT_C_BYTES, key->align_c);
    SET(MIN_ALIGNMENT_D_BYTES, key->align_d);
#undef SET
    if (!status)
        status = lt->cublasLtMatmulAlgoGetHeuristic(lt->handle, asked->operation, asked->a,
                                                    asked->b, asked->d, asked->d, asked->preference,
                                                    most, found, &count);
    for (int i = 0; !status && i < count; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            found[fit++] = found[i];
    return fit;
}

/* One product, described, with a result of its own. */
struct posed {
    const struct md__gpu_libraries *all;
    const struct asked *asked;
    const struct md__cuda_product *p;
    const cublasLtMatmulAlgo_t *algorithm;
    cudaStream_t stream;
    void *y;
};

static cublasStatus_t multiply(const struct posed *posed)
{
    const struct md__cublaslt *lt = posed->all->cublaslt;
    const struct md__cuda_product *p = posed->p;
    const struct asked *asked = posed->asked;
    float alpha = p->alpha, beta = p->z ? 1.0f : 0.0f;
    return lt->cublasLtMatmul(lt->handle, asked->operation, &alpha, p->b, asked->a, p->a, asked->b,
                              &beta, p->z ? p->z : posed->y, asked->d, posed->y, asked->d,
                              posed->algorithm, posed->all->workspace, MD__LIBRARY_WORKSPACE_BYTES,
                              posed->stream);
}

static bool run_timed(const void *context)
{
    return multiply(context) == CUBLAS_STATUS_SUCCESS;
}

/* The fastest of them into memory of its own, because y may be z; the first when none can be
 * timed. */
static int fastest(const struct posed *posed, const struct key *key,
                   const cublasLtMatmulHeuristicResult_t *found, int count)
{
    struct posed own = *posed;
    float best = INFINITY;
    int chosen = 0;
    size_t bytes = (size_t)(key->batch * key->m * key->n) * (key->stored == MD__CUDA_F32 ? 4 : 2);
    bool ready = cudaMalloc(&own.y, bytes) == cudaSuccess;
    for (int i = 0; ready && i < count; i++) {
        own.algorithm = &found[i].algo;
        float ms = md__choice_ms(own.stream, run_timed, &own);
        chosen = ms < best ? i : chosen;
        best = ms < best ? ms : best;
    }
    if (ready)
        cudaFree(own.y);
    cudaGetLastError(); /* whatever this was, the next call's it is not */
    return chosen;
}

static const cublasLtMatmulAlgo_t *choose(struct md__cublaslt *lt, struct posed *posed,
                                          struct asked *asked, const struct key *key)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    for (int i = 0; i < lt->count; i++)
        if (memcmp(&lt->kept[i].key, key, sizeof *key) == 0)
            return &lt->kept[i].algorithm;
    int before = md__choices_recall(&lt->choices, key, sizeof *key);
    bool times =
        before == MD__CHOICE_NONE && !lt->choices.untimed && !md__is_captured(posed->stream);
    int count = ask(lt, asked, key, found, before >= 0 || times ? CANDIDATES : 1);
    if (count == 0)
        return NULL;
    int chosen = times && count > 1 ? fastest(posed, key, found, count) : 0;
    if (times)
        md__choices_remember(&lt->choices, key, sizeof *key, chosen);
    if (before >= 0 && before < count)
        chosen = before;
    struct kept *kept = &lt->kept[lt->next];
    *kept = (struct kept){*key, found[chosen].algo};
    lt->next = (lt->next + 1) % KEPT;
    lt->count = lt->count < KEPT ? lt->count + 1 : KEPT;
    return &kept->algorithm;
}

int md__cublaslt_product(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                         const struct md__cuda_product *p)
{
    struct md__gpu_libraries *all = (struct md__gpu_libraries *)libraries;
    struct md__cublaslt *lt = all->cublaslt;
    struct asked asked = {0};
    struct md__cuda_product part = part_of(p);
    struct posed posed = {all, &asked, &part, NULL, (cudaStream_t)stream, p->y};
    struct key key;
    if (!key_of(&part, &key))
        return MD__CUDA_REFUSED;
    cublasStatus_t status = describe(lt, &asked, &key, part.bias);
    const cublasLtMatmulAlgo_t *algorithm = status ? NULL : choose(lt, &posed, &asked, &key);
    posed.algorithm = algorithm;
    if (algorithm)
        status = multiply(&posed);
    forget(lt, &asked);
    if (!algorithm || status == CUBLAS_STATUS_NOT_SUPPORTED)
        return MD__CUDA_REFUSED;
    if (status)
        return (int)(status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation
                                                          : cudaErrorLaunchFailure);
    return finish(stream, p, &part);
}

#endif
