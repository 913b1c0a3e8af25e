/*
 * Reference MatMul and Gemm, float32 with double accumulation.
 */
#include "kernels/cpu/ref.h"

/* One product: c[m][n] = sum over k of a[m*a_row + k*a_col] * b[k*b_row + n*b_col]. */
struct product {
    const float *a, *b;
    size_t a_row, a_col, b_row, b_col;
    size_t rows, inner, columns;
};

static double element(const struct product *p, size_t m, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < p->inner; k++)
        sum +=
            (double)p->a[m * p->a_row + k * p->a_col] * (double)p->b[k * p->b_row + n * p->b_col];
    return sum;
}

/*
 * NumPy's matmul: a vector on the left is a row, on the right a column, whose axis is dropped from
 * the result; leading dimensions broadcast.
 */
static enum md_status matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct md_shape a = call->in[0].shape, b = call->in[1].shape;
    const struct md_tensor *out = &call->out[0];
    int lead = out->shape.rank - (a.rank > 1) - (b.rank > 1);
    struct product p = {.a_col = 1, .inner = (size_t)a.dim[a.rank - 1]};
    p.rows = a.rank > 1 ? (size_t)a.dim[a.rank - 2] : 1;
    p.columns = b.rank > 1 ? (size_t)b.dim[b.rank - 1] : 1;
    p.a_row = p.inner;
    p.b_row = p.columns;
    p.b_col = 1;

    size_t a_matrix = p.rows * p.inner, b_matrix = p.inner * p.columns;
    a.rank = a.rank > 2 ? a.rank - 2 : 0;
    b.rank = b.rank > 2 ? b.rank - 2 : 0;
    struct md__walk walk;
    md__walk_init(&walk, lead, out->shape.dim);
    md__walk_broadcast(&walk, 0, &a);
    md__walk_broadcast(&walk, 1, &b);
    size_t matrices = md__span(&out->shape, 0, lead);
    float *to = out->data;
    for (size_t i = 0; i < matrices; i++, md__walk_next(&walk)) {
        p.a = (const float *)call->in[0].data + (size_t)walk.at[0] * a_matrix;
        p.b = (const float *)call->in[1].data + (size_t)walk.at[1] * b_matrix;
        for (size_t m = 0; m < p.rows; m++)
            for (size_t n = 0; n < p.columns; n++)
                *to++ = (float)element(&p, m, n);
    }
    return MD_OK;
}

/* Gemm: alpha * op(A) * op(B) + beta * C, C broadcast to the result. */
static enum md_status gemm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *a = &call->in[0], *b = &call->in[1], *out = &call->out[0];
    bool a_turned = md_node_int(call->node, "transA", 0),
         b_turned = md_node_int(call->node, "transB", 0);
    double alpha = md_node_float(call->node, "alpha", 1.0);
    double beta = md_node_float(call->node, "beta", 1.0);
    size_t a_columns = (size_t)a->shape.dim[1], b_columns = (size_t)b->shape.dim[1];
    struct product p = {.a = a->data,
                        .b = b->data,
                        .a_row = a_turned ? 1 : a_columns,
                        .a_col = a_turned ? a_columns : 1,
                        .b_row = b_turned ? 1 : b_columns,
                        .b_col = b_turned ? b_columns : 1,
                        .rows = (size_t)out->shape.dim[0],
                        .inner = (size_t)a->shape.dim[a_turned ? 0 : 1],
                        .columns = (size_t)out->shape.dim[1]};
    bool has_c = md__has(call->in, call->in_count, 2);
    struct md__walk walk;
    md__walk_init(&walk, 2, out->shape.dim);
    if (has_c)
        md__walk_broadcast(&walk, 0, &call->in[2].shape);
    float *to = out->data;
    for (size_t m = 0; m < p.rows; m++)
        for (size_t n = 0; n < p.columns; n++, md__walk_next(&walk)) {
            double sum = alpha * element(&p, m, n);
            if (has_c)
                sum += beta * (double)((const float *)call->in[2].data)[walk.at[0]];
            *to++ = (float)sum;
        }
    return MD_OK;
}

const struct md_kernel md__ref_matmul = {.supports = md__all_f32, .run = matmul_run};
const struct md_kernel md__ref_gemm = {.supports = md__all_f32, .run = gemm_run};
