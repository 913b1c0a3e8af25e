/* Helpers shared by the shape rules: what attributes and small inputs say. */
#include <string.h>

#include "graph/infer.h"

enum md_status md__infer_choice(const struct md_node *node, const char *attribute,
                                const char *otherwise, const char *const *choices, int *choice,
                                struct md_error *err)
{
    const char *asked = md_node_string(node, attribute, otherwise);
    for (int i = 0; choices[i]; i++)
        if (strcmp(asked, choices[i]) == 0) {
            *choice = i;
            return MD_OK;
        }
    return md_fail(err, MD_ERR_UNSUPPORTED, "attribute %s \"%.40s\" is not supported", attribute,
                   asked);
}

/* One element of input i, whose contents must be known. */
static enum md_status one_known(const struct md_value_info *in, int i, const char *what,
                                struct md_error *err)
{
    size_t count;
    enum md_status status = md_shape_count(&in[i].shape, 1, &count, err);
    if (!status && count != 1)
        status = md_fail(err, MD_ERR_INVALID, "%s (input %d) has shape %s, wanted one element",
                         what, i, MD_SHAPE(in[i]));
    if (!status && !in[i].known)
        status = md__infer_unknown(in, i, what, err);
    return status;
}

enum md_status md__infer_float(const struct md_value_info *in, int i, const char *what,
                               double *value, struct md_error *err)
{
    enum md_status status = one_known(in, i, what, err);
    if (status)
        return status;
    const void *at = in[i].known;
    switch (in[i].dtype) {
    case MD_F32:
        *value = *(const float *)at;
        return MD_OK;
    case MD_F64:
        *value = *(const double *)at;
        return MD_OK;
    case MD_F16:
        *value = md_f16_to_f32(*(const uint16_t *)at);
        return MD_OK;
    case MD_BF16:
        *value = md_bf16_to_f32(*(const uint16_t *)at);
        return MD_OK;
    default: {
        int64_t integer = 0;
        status = md__infer_scalar(in, i, what, &integer, err);
        *value = (double)integer;
        return status;
    }
    }
}

enum md_status md__infer_scalar(const struct md_value_info *in, int i, const char *what,
                                int64_t *value, struct md_error *err)
{
    double real = 0;
    enum md_status status = one_known(in, i, what, err);
    if (status)
        return status;
    const void *at = in[i].known;
    switch (in[i].dtype) {
#define X(code, type)                                                                              \
    case code:                                                                                     \
        *value = (int64_t)(*(const type *)at);                                                     \
        return MD_OK;
        X(MD_BOOL, uint8_t)
        X(MD_U8, uint8_t)
        X(MD_I8, int8_t)
        X(MD_U16, uint16_t)
        X(MD_I16, int16_t)
        X(MD_U32, uint32_t)
        X(MD_I32, int32_t)
        X(MD_U64, uint64_t)
        X(MD_I64, int64_t)
#undef X
    default:
        status = md__infer_float(in, i, what, &real, err);
        if (!status && !(real > -9e15 && real < 9e15))
            status = md_fail(err, MD_ERR_INVALID, "%s (input %d) is %g", what, i, real);
        *value = status ? 0 : (int64_t)real;
        return status;
    }
}

enum md_status md__infer_axis_list(const struct md_value_info *in, int in_count, int i, int rank,
                                   int *axes, int *count, struct md_error *err)
{
    int64_t list[MD_RANK_MAX];
    unsigned seen = 0;
    *count = rank;
    for (int k = 0; k < rank; k++)
        axes[k] = k;
    if (!md__has(in, in_count, i))
        return MD_OK;
    enum md_status status = md__infer_ints(in, i, "axes", list, MD_RANK_MAX, count, err);
    for (int k = 0; !status && k < *count; k++) {
        status = md__infer_axis(list[k], rank, &axes[k], err);
        if (!status && (seen & 1u << axes[k]))
            status = md_fail(err, MD_ERR_INVALID, "axis %d is named twice", axes[k]);
        if (!status)
            seen |= 1u << axes[k];
    }
    return status;
}

enum md_status md__infer_numbers(const struct md_node *node, const char *name, int count,
                                 int64_t otherwise, int64_t least, int64_t *list,
                                 struct md_error *err)
{
    const struct md_attr *attr = md_node_attr(node, name);
    if (attr && (attr->type != MD_ATTR_INTS || attr->count != count))
        return md_fail(err, MD_ERR_INVALID, "attribute %s does not list %d numbers", name, count);
    for (int i = 0; i < count; i++) {
        list[i] = attr ? attr->ints[i] : otherwise;
        if (list[i] < least || list[i] > INT32_MAX)
            return md_fail(err, MD_ERR_INVALID, "attribute %s holds %lld", name,
                           (long long)list[i]);
    }
    return MD_OK;
}
