/*
 * Reference MatMul, Gemm and Det in every dtype: floats accumulate in double, integers wrap.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/ref.h"

/* ---- MatMul ---------------------------------------------------------------------------------- */

static bool numbers(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node, (void)in_count;
    return in[0].dtype != MD_BOOL;
}

static size_t matmul_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    (void)node, (void)in_count;
    return md__product_scratch((size_t)in[0].shape.dim[in[0].shape.rank - 1], threads);
}

struct matmul {
    const struct md_tensor *out;
    size_t rows, columns;
};

static void matmul_finish(void *context, const struct md__sums *sums)
{
    const struct matmul *matmul = context;
    size_t at = (sums->matrix * matmul->rows + sums->row) * matmul->columns + sums->column;
    if (sums->real)
        md__store_floats(matmul->out, at, 1, sums->count, sums->real);
    else
        md__store_ints(matmul->out, at, 1, sums->count, sums->integer);
}

static enum md_status matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct matmul matmul = {.out = &call->out[0]};
    struct md__product product = {.real = md__dtype_is_float(call->in[0].dtype),
                                  .finish = matmul_finish,
                                  .context = &matmul,
                                  .scratch = call->scratch};
    md__product_matmul(&product, &call->in[0], &call->in[1], &call->out[0]);
    matmul.rows = product.rows;
    matmul.columns = product.columns;
    md__product_run(&product, call->pool);
    return MD_OK;
}

const struct md_kernel md__ref_matmul = {
    .supports = numbers, .scratch_bytes = matmul_scratch, .run = matmul_run};

/* ---- Gemm: alpha * op(A) * op(B) + beta * C, C broadcast to the result ----------------------- */

struct gemm {
    const struct md_tensor *out;
    struct md__view c; /* tensor NULL: absent */
    double alpha, beta;
};

/* Integers are scaled as integers when the factors are, which the standard's defaults of 1 are. */
static void gemm_integers(const struct gemm *gemm, size_t at, const struct md__sums *sums)
{
    int64_t c[MD__TILE] = {0};
    if (gemm->c.tensor)
        md__view_ints(&gemm->c, at, sums->count, c);
    for (size_t i = 0; i < sums->count; i++) {
        uint64_t sum = (uint64_t)sums->integer[i] * (uint64_t)(int64_t)gemm->alpha;
        c[i] = (int64_t)(sum + (uint64_t)c[i] * (uint64_t)(int64_t)gemm->beta);
    }
    md__store_ints(gemm->out, at, 1, sums->count, c);
}

static void gemm_finish(void *context, const struct md__sums *sums)
{
    const struct gemm *gemm = context;
    size_t at = sums->row * (size_t)gemm->out->shape.dim[1] + sums->column;
    double c[MD__TILE] = {0};
    if (!sums->real) {
        gemm_integers(gemm, at, sums);
        return;
    }
    if (gemm->c.tensor)
        md__view_floats(&gemm->c, at, sums->count, c);
    for (size_t i = 0; i < sums->count; i++)
        c[i] = gemm->alpha * sums->real[i] + (gemm->c.tensor ? gemm->beta * c[i] : 0);
    md__store_floats(gemm->out, at, 1, sums->count, c);
}

static size_t gemm_inner(const struct md_node *node, const struct md_tensor *in)
{
    return (size_t)in[0].shape.dim[md_node_int(node, "transA", 0) ? 0 : 1];
}

static size_t gemm_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    return md__product_scratch(gemm_inner(node, in), threads);
}

static bool whole(double x)
{
    return x == rint(x) && fabs(x) < 0x1p62;
}

static bool gemm_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    bool factors_whole =
        whole(md_node_float(node, "alpha", 1)) && whole(md_node_float(node, "beta", 1));
    return md__dtype_is_float(in[0].dtype) || (in[0].dtype != MD_BOOL && factors_whole);
}

static struct md__operand turned(const struct md_tensor *tensor, bool turn)
{
    int64_t columns = tensor->shape.dim[1];
    return (struct md__operand){
        .tensor = tensor, .row = turn ? 1 : columns, .column = turn ? columns : 1};
}

static enum md_status gemm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_node *node = call->node;
    struct gemm gemm = {.out = &call->out[0],
                        .alpha = md_node_float(node, "alpha", 1.0),
                        .beta = md_node_float(node, "beta", 1.0)};
    if (md__has(call->in, call->in_count, 2))
        md__view_init(&gemm.c, &call->in[2], &call->out[0].shape);
    struct md__product product = {.a = turned(&call->in[0], md_node_int(node, "transA", 0)),
                                  .b = turned(&call->in[1], md_node_int(node, "transB", 0)),
                                  .rows = (size_t)call->out[0].shape.dim[0],
                                  .inner = gemm_inner(node, call->in),
                                  .columns = (size_t)call->out[0].shape.dim[1],
                                  .matrices = 1,
                                  .real = md__dtype_is_float(call->in[0].dtype),
                                  .finish = gemm_finish,
                                  .context = &gemm,
                                  .scratch = call->scratch};
    md__product_run(&product, call->pool);
    return MD_OK;
}

const struct md_kernel md__ref_gemm = {
    .supports = gemm_supports, .scratch_bytes = gemm_scratch, .run = gemm_run};

/* ---- Det ------------------------------------------------------------------------------------- */

static void swap_rows(double *matrix, size_t n, size_t a, size_t b)
{
    for (size_t i = 0; i < n; i++) {
        double kept = matrix[a * n + i];
        matrix[a * n + i] = matrix[b * n + i];
        matrix[b * n + i] = kept;
    }
}

/* Gaussian elimination with the largest pivot of each column; destroys the matrix. */
static double determinant(double *matrix, size_t n)
{
    double det = 1;
    for (size_t k = 0; k < n; k++) {
        size_t pivot = k;
        for (size_t r = k + 1; r < n; r++)
            if (fabs(matrix[r * n + k]) > fabs(matrix[pivot * n + k]))
                pivot = r;
        if (pivot != k) {
            swap_rows(matrix, n, pivot, k);
            det = -det;
        }
        double head = matrix[k * n + k];
        det *= head;
        if (head == 0)
            return det;
        for (size_t r = k + 1; r < n; r++) {
            double factor = matrix[r * n + k] / head;
            for (size_t c = k + 1; c < n; c++)
                matrix[r * n + c] -= factor * matrix[k * n + c];
        }
    }
    return det;
}

static size_t det_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                          int threads)
{
    (void)node, (void)in_count, (void)threads;
    size_t n = (size_t)in[0].shape.dim[in[0].shape.rank - 1];
    return n * n * sizeof(double);
}

static enum md_status det_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    size_t n = (size_t)in->shape.dim[in->shape.rank - 1], matrices = md__count(out);
    for (size_t i = 0; i < matrices; i++) {
        md__load_floats(in, i * n * n, 1, n * n, call->scratch);
        md__set_float(out, i, determinant(call->scratch, n));
    }
    return MD_OK;
}

const struct md_kernel md__ref_det = {
    .supports = md__float_first, .scratch_bytes = det_scratch, .run = det_run};
