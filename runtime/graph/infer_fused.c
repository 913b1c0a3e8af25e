/*
 * Shape rules of the fused operators, in the order of fused.md. They are stricter than their bodies
 * (no broadcasting beyond what the page allows), so that kernels may rely on rows being rows.
 */
#include "graph/activation.h"
#include "graph/infer.h"

/* The last dimension of input i, which must have at least one axis and be float32. */
static enum md_status features_of(const struct md_value_info *in, int i, const char *what,
                                  int64_t *features, struct md_error *err)
{
    enum md_status status = md__infer_dtype(in, i, MD_F32, err);
    if (status)
        return status;
    if (in[i].shape.rank < 1)
        return md_fail(err, MD_ERR_INVALID, "%s (input %d) is a scalar", what, i);
    *features = in[i].shape.dim[in[i].shape.rank - 1];
    return MD_OK;
}

/* Input i as a float32 parameter: [a, b], or [a] when b is MD_NONE. Absent inputs pass. */
static enum md_status parameter(const struct md_value_info *in, int in_count, int i,
                                const char *what, int64_t a, int64_t b, struct md_error *err)
{
    const int64_t dim[2] = {a, b};
    if (!md__has(in, in_count, i))
        return MD_OK;
    enum md_status status = md__infer_dtype(in, i, MD_F32, err);
    return status ? status : md__infer_expect(in, i, what, b == MD_NONE ? 1 : 2, dim, err);
}

/* Rows of input 0 with `features` features. */
static void rows_with(const struct md_value_info *in, int64_t features, struct md_value_info *out)
{
    out[0].dtype = MD_F32;
    out[0].shape = in[0].shape;
    out[0].shape.dim[out[0].shape.rank - 1] = features;
}

MD_INFER_RULE(md_infer_linear)
{
    (void)out_count;
    bool turned = md_node_int(node, "transB", 1) != 0;
    int64_t features = 0;
    int64_t units = in[1].shape.rank == 2 ? in[1].shape.dim[turned ? 0 : 1] : MD_NONE;
    enum md_status status = features_of(in, 0, "x", &features, err);
    if (!status)
        status = md__infer_dtype(in, 1, MD_F32, err);
    if (!status)
        status = md__infer_expect(in, 1, "weight", 2,
                                  (int64_t[]){turned ? -1 : features, turned ? features : -1}, err);
    if (!status)
        status = parameter(in, in_count, 2, "bias", units, MD_NONE, err);
    struct md_activation activation;
    if (!status)
        status = md_activation_read(node, &activation, err);
    if (status)
        return status;
    rows_with(in, units, out);
    if (!md__has(in, in_count, 3))
        return MD_OK;
    status = md__infer_dtype(in, 3, MD_F32, err);
    return status ? status : md__infer_expect(in, 3, "z", out->shape.rank, out->shape.dim, err);
}

MD_INFER_RULE(md_infer_glu)
{
    enum md_status status = md_infer_linear(node, in, in_count, out, out_count, err);
    if (status)
        return status;
    if (in[1].shape.dim[0] % 2)
        return md_fail(err, MD_ERR_INVALID, "weight of shape %s has no two halves",
                       MD_SHAPE(in[1]));
    rows_with(in, in[1].shape.dim[0] / 2, out);
    return MD_OK;
}

MD_INFER_RULE(md_infer_resample_norm)
{
    (void)out_count;
    int64_t features = 0, units = 0;
    enum md_status status = features_of(in, 0, "x", &features, err);
    if (!status)
        status = features_of(in, 1, "gamma", &units, err);
    if (!status)
        status = parameter(in, in_count, 1, "gamma", units, MD_NONE, err);
    if (!status)
        status = parameter(in, in_count, 2, "beta", units, MD_NONE, err);
    if (!status)
        status = parameter(in, in_count, 3, "gate", units, MD_NONE, err);
    if (status)
        return status;
    if (md_node_int(node, "input_size", units) != features || features < 1)
        return md_fail(err, MD_ERR_INVALID, "x of shape %s has other features than input_size",
                       MD_SHAPE(in[0]));
    rows_with(in, units, out);
    return MD_OK;
}

/* Inputs first..first+1 are a GLU's weight and bias over `hidden` features, the next two gamma and
 * beta. */
static enum md_status gate_norm_parameters(const struct md_value_info *in, int in_count, int first,
                                           int64_t hidden, int64_t *units, struct md_error *err)
{
    enum md_status status = features_of(in, first + 2, "gamma", units, err);
    if (!status && *units > INT32_MAX)
        status = md_fail(err, MD_ERR_TOO_LARGE, "gamma has shape %s", MD_SHAPE(in[first + 2]));
    if (!status)
        status = parameter(in, in_count, first + 2, "gamma", *units, MD_NONE, err);
    if (!status)
        status = parameter(in, in_count, first, "glu_weight", 2 * *units, hidden, err);
    if (!status)
        status = parameter(in, in_count, first + 1, "glu_bias", 2 * *units, MD_NONE, err);
    if (!status)
        status = parameter(in, in_count, first + 3, "beta", *units, MD_NONE, err);
    return status;
}

MD_INFER_RULE(md_infer_gate_add_norm)
{
    (void)node, (void)out_count;
    int64_t features = 0, units = 0;
    enum md_status status = features_of(in, 0, "x", &features, err);
    if (!status)
        status = gate_norm_parameters(in, in_count, 2, features, &units, err);
    if (!status)
        status = parameter(in, in_count, 6, "skip_gate", units, MD_NONE, err);
    if (status)
        return status;
    rows_with(in, units, out);
    if ((status = md__infer_dtype(in, 1, MD_F32, err)))
        return status;
    return md__infer_expect(in, 1, "skip", out[0].shape.rank, out[0].shape.dim, err);
}

/* The context's row axes equal those of x or are 1. */
static enum md_status check_context(const struct md_value_info *in, int in_count, int64_t hidden,
                                    struct md_error *err)
{
    int64_t features = 0;
    const struct md_shape *x = &in[0].shape, *context = &in[9].shape;
    enum md_status status = features_of(in, 9, "context", &features, err);
    if (!status)
        status = parameter(in, in_count, 10, "context_weight", hidden, features, err);
    if (status)
        return status;
    bool fits = context->rank == x->rank;
    for (int i = 0; fits && i < x->rank - 1; i++)
        fits = context->dim[i] == x->dim[i] || context->dim[i] == 1;
    return fits ? MD_OK
                : md_fail(err, MD_ERR_INVALID, "context of shape %s does not fit x of shape %s",
                          MD_SHAPE(in[9]), MD_SHAPE(in[0]));
}

MD_INFER_RULE(md_infer_gated_residual)
{
    (void)node, (void)out_count;
    int64_t features = 0, hidden = 0, units = 0;
    bool context = md__has(in, in_count, 9), resample = md__has(in, in_count, 11);
    enum md_status status = features_of(in, 0, "x", &features, err);
    if (!status)
        status = features_of(in, 2, "fc1_bias", &hidden, err);
    if (!status)
        status = parameter(in, in_count, 1, "fc1_weight", hidden, features, err);
    if (!status)
        status = parameter(in, in_count, 2, "fc1_bias", hidden, MD_NONE, err);
    if (!status)
        status = parameter(in, in_count, 3, "fc2_weight", hidden, hidden, err);
    if (!status)
        status = parameter(in, in_count, 4, "fc2_bias", hidden, MD_NONE, err);
    if (!status)
        status = gate_norm_parameters(in, in_count, 5, hidden, &units, err);
    if (!status && md__has(in, in_count, 3) != md__has(in, in_count, 4))
        status = md_fail(err, MD_ERR_INVALID, "fc2_weight and fc2_bias come together");
    for (int i = 11; !status && i < 14; i++)
        status = parameter(in, in_count, i, "resample parameter", units, MD_NONE, err);
    if (!status && context != md__has(in, in_count, 10))
        status = md_fail(err, MD_ERR_INVALID, "context and context_weight come together");
    if (!status && context)
        status = check_context(in, in_count, hidden, err);
    if (status)
        return status;
    if (resample != md__has(in, in_count, 12) || (!resample && md__has(in, in_count, 13)))
        return md_fail(err, MD_ERR_INVALID, "resample_gamma and resample_beta come together");
    if (!resample && features != units)
        return md_fail(err, MD_ERR_INVALID,
                       "has no resample parameters, but %lld input and %lld output features",
                       (long long)features, (long long)units);
    if (resample && features < 1)
        return md_fail(err, MD_ERR_INVALID, "x of shape %s has no features to resample",
                       MD_SHAPE(in[0]));
    rows_with(in, units, out);
    return MD_OK;
}

MD_INFER_RULE(md_infer_weighted_sum)
{
    (void)node, (void)out_count;
    int64_t count = 0, features = 0;
    enum md_status status = features_of(in, 0, "weights", &count, err);
    if (!status)
        status = features_of(in, 1, "v_0", &features, err);
    if (status)
        return status;
    if (count != in_count - 1)
        return md_fail(err, MD_ERR_INVALID, "weights of shape %s do not weigh %d tensors",
                       MD_SHAPE(in[0]), in_count - 1);
    rows_with(in, features, out);
    for (int i = 1; i < in_count && !status; i++) {
        status = md__infer_dtype(in, i, MD_F32, err);
        if (!status)
            status = md__infer_expect(in, i, "v", out[0].shape.rank, out[0].shape.dim, err);
    }
    return status;
}

MD_INFER_RULE(md_infer_interpretable_attention)
{
    (void)out_count;
    int64_t heads = md_node_int(node, "heads", 0), size = md_node_int(node, "head_size", 0);
    const int64_t any[3] = {-1, -1, -1};
    if (heads < 1 || size < 1 || heads > INT32_MAX || size > INT32_MAX)
        return md_fail(err, MD_ERR_INVALID, "heads and head_size must be positive");
    enum md_status status = MD_OK;
    for (int i = 0; i < 3 && !status; i++) {
        status = md__infer_dtype(in, i, MD_F32, err);
        if (!status)
            status = md__infer_expect(in, i, "q, k or v", 3, any, err);
    }
    if (status)
        return status;
    const int64_t batch = in[0].shape.dim[0], queries = in[0].shape.dim[1];
    const int64_t keys = in[1].shape.dim[1], values = in[2].shape.dim[2];
    const int64_t masked = keys - (md_node_int(node, "causal", 0) != 0 ? queries : 0);
    status = md__infer_expect(in, 0, "q", 3, (int64_t[]){-1, -1, heads * size}, err);
    if (!status)
        status = md__infer_expect(in, 1, "k", 3, (int64_t[]){batch, -1, heads * size}, err);
    if (!status)
        status = md__infer_expect(in, 2, "v", 3, (int64_t[]){batch, keys, -1}, err);
    if (status)
        return status;
    if (masked < 0)
        return md_fail(err, MD_ERR_INVALID, "causal, but %lld queries and only %lld keys",
                       (long long)queries, (long long)keys);
    out[0].dtype = MD_F32;
    out[0].shape = md_shape_of(3, (int64_t[]){batch, queries, values});
    if (!md__has(in, in_count, 3))
        return MD_OK;
    const struct md_shape *mask = &in[3].shape;
    if ((status = md__infer_dtype(in, 3, MD_BOOL, err)))
        return status;
    if (mask->rank == 3 && (mask->dim[0] == batch || mask->dim[0] == 1) &&
        (mask->dim[1] == queries || mask->dim[1] == 1) && mask->dim[2] == masked)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "mask of shape %s does not fit q %s and k %s",
                   MD_SHAPE(in[3]), MD_SHAPE(in[0]), MD_SHAPE(in[1]));
}
