/* Tools for rewrites; see onnx_rewrite.h. */
#include "model/onnx_rewrite.h"

#include <string.h>

const struct md_attr *md__onnx_attr(const struct md__onnx_call *call, const char *name)
{
    for (int i = 0; i < call->attr_count; i++)
        if (strcmp(call->attrs[i].name, name) == 0)
            return &call->attrs[i];
    return NULL;
}

int64_t md__onnx_attr_int(const struct md__onnx_call *call, const char *name, int64_t otherwise)
{
    const struct md_attr *attr = md__onnx_attr(call, name);
    return attr && attr->type == MD_ATTR_INT ? attr->i : otherwise;
}

double md__onnx_attr_float(const struct md__onnx_call *call, const char *name, double otherwise)
{
    const struct md_attr *attr = md__onnx_attr(call, name);
    return attr && attr->type == MD_ATTR_FLOAT ? attr->f : otherwise;
}

const char *md__onnx_attr_text(const struct md__onnx_call *call, const char *name,
                               const char *otherwise)
{
    const struct md_attr *attr = md__onnx_attr(call, name);
    return attr && attr->type == MD_ATTR_STRING ? attr->s : otherwise;
}

void md__onnx_drop_attr(struct md__onnx_call *call, const char *name)
{
    for (int i = 0; i < call->attr_count; i++) {
        if (strcmp(call->attrs[i].name, name) != 0)
            continue;
        if (call->attrs[i].type == MD_ATTR_TENSOR)
            md_tensor_unref(&call->attrs[i].tensor);
        call->attrs[i--] = call->attrs[--call->attr_count];
    }
}

static struct md_attr *put_attr(struct md__onnx_call *call, const char *name)
{
    md__onnx_drop_attr(call, name);
    struct md_attr *attr = &call->attrs[call->attr_count++];
    *attr = (struct md_attr){.name = name};
    return attr;
}

void md__onnx_put_int(struct md__onnx_call *call, const char *name, int64_t value)
{
    struct md_attr *attr = put_attr(call, name);
    attr->type = MD_ATTR_INT;
    attr->i = value;
}

void md__onnx_put_float(struct md__onnx_call *call, const char *name, double value)
{
    struct md_attr *attr = put_attr(call, name);
    attr->type = MD_ATTR_FLOAT;
    attr->f = value;
}

void md__onnx_put_text(struct md__onnx_call *call, const char *name, const char *value)
{
    struct md_attr *attr = put_attr(call, name);
    attr->type = MD_ATTR_STRING;
    attr->s = value;
}

void md__onnx_put_input(struct md__onnx_call *call, int i, int value)
{
    while (call->in_count <= i)
        call->in[call->in_count++] = MD_NONE;
    call->in[i] = value;
}

int md__onnx_input(const struct md__onnx_call *call, int i)
{
    return i < call->in_count ? call->in[i] : MD_NONE;
}

enum md_status md__onnx_ints(struct md__onnx_call *call, const int64_t *ints, int count, int *value,
                             struct md_error *err)
{
    struct md_tensor tensor = {.dtype = MD_I64, .shape = {.rank = 1, .dim = {count}}};
    int64_t nothing = 0;
    tensor.data = count ? (void *)(uintptr_t)ints : &nothing; /* borrowed, so the graph copies */
    return md__onnx_add_constant(call->scope, "", &tensor, value, err);
}

enum md_status md__onnx_int(struct md__onnx_call *call, int64_t number, int *value,
                            struct md_error *err)
{
    struct md_tensor tensor = {.dtype = MD_I64, .data = &number};
    return md__onnx_add_constant(call->scope, "", &tensor, value, err);
}

enum md_status md__onnx_op(struct md__onnx_call *call, const char *op, const int *in, int in_count,
                           int *value, struct md_error *err)
{
    return md__onnx_emit(call, op, in, in_count, NULL, 0, value, 1, err);
}

enum md_status md__onnx_op_int(struct md__onnx_call *call, const char *op, const int *in,
                               int in_count, const char *attr, int64_t number, int *value,
                               struct md_error *err)
{
    struct md_attr given = {.name = attr, .type = MD_ATTR_INT, .i = number};
    return md__onnx_emit(call, op, in, in_count, &given, 1, value, 1, err);
}

/* Writes the number in the types where it is common; others are cast in the graph. */
static bool write_number(enum md_dtype dtype, double number, void *at)
{
    switch (dtype) {
    case MD_F32:
        *(float *)at = (float)number;
        return true;
    case MD_F64:
        *(double *)at = number;
        return true;
    case MD_F16:
        *(uint16_t *)at = md_f32_to_f16((float)number);
        return true;
    case MD_BF16:
        *(uint16_t *)at = md_f32_to_bf16((float)number);
        return true;
    case MD_I64:
        *(int64_t *)at = (int64_t)number;
        return true;
    case MD_I32:
        *(int32_t *)at = (int32_t)number;
        return true;
    default:
        return false;
    }
}

enum md_status md__onnx_scalar(struct md__onnx_call *call, double number, int like, int *value,
                               struct md_error *err)
{
    double memory = 0;
    struct md_tensor tensor = {.dtype = md__onnx_dtype_of(call->scope->body, like),
                               .data = &memory};
    if (write_number(tensor.dtype, number, &memory))
        return md__onnx_add_constant(call->scope, "", &tensor, value, err);
    int pair[2] = {MD_NONE, like};
    tensor.dtype = MD_F32;
    write_number(MD_F32, number, &memory);
    enum md_status status = md__onnx_add_constant(call->scope, "", &tensor, &pair[0], err);
    return status ? status : md__onnx_op(call, "CastLike", pair, 2, value, err);
}

const struct md_tensor *md__onnx_constant(const struct md__onnx_call *call, int value)
{
    const struct md_graph *graph = call->scope->body->graph;
    return value >= 0 && graph->values[value].constant.data ? &graph->values[value].constant : NULL;
}

enum md_status md__onnx_ints_to_input(struct md__onnx_call *call, const char *name, int i,
                                      struct md_error *err)
{
    const struct md_attr *attr = md__onnx_attr(call, name);
    int value = MD_NONE;
    if (!attr || md__onnx_input(call, i) != MD_NONE)
        return MD_OK;
    if (attr->type != MD_ATTR_INTS)
        return md_fail(err, MD_ERR_CORRUPT, "attribute \"%s\" is no list of integers", name);
    enum md_status status = md__onnx_ints(call, attr->ints, attr->count, &value, err);
    md__onnx_drop_attr(call, name);
    if (!status)
        md__onnx_put_input(call, i, value);
    return status;
}

/* shape(of) has r dimensions, value has k: Reshape to shape(value) and r - axis - k ones. */
enum md_status md__onnx_align(struct md__onnx_call *call, int *value, int of, int64_t axis,
                              struct md_error *err)
{
    int own = MD_NONE, shape = MD_NONE, rank = MD_NONE, begin = MD_NONE, ones = MD_NONE;
    int pair[2];
    enum md_status status = md__onnx_op(call, "Shape", value, 1, &own, err);
    if (!status)
        status = md__onnx_op(call, "Shape", &of, 1, &shape, err);
    if (!status)
        status = md__onnx_op(call, "Shape", &shape, 1, &rank, err);
    if (!status)
        status = md__onnx_ints(call, &axis, 1, &begin, err);
    pair[0] = rank, pair[1] = begin;
    if (!status && axis >= 0)
        status = md__onnx_op(call, "Sub", pair, 2, &rank, err);
    else if (!status) /* from the end: -axis dimensions are left */
        status = md__onnx_ints(call, (int64_t[]){-axis}, 1, &rank, err);
    if (!status)
        status = md__onnx_op(call, "Shape", &own, 1, &begin, err);
    pair[0] = rank, pair[1] = begin;
    if (!status)
        status = md__onnx_op(call, "Sub", pair, 2, &rank, err);
    struct md_attr one = {.name = "value", .type = MD_ATTR_TENSOR};
    int64_t number = 1;
    one.tensor =
        (struct md_tensor){.dtype = MD_I64, .shape = {.rank = 1, .dim = {1}}, .data = &number};
    if (!status)
        status = md__onnx_emit(call, "ConstantOfShape", &rank, 1, &one, 1, &ones, 1, err);
    pair[0] = own, pair[1] = ones;
    if (!status)
        status = md__onnx_op_int(call, "Concat", pair, 2, "axis", 0, &shape, err);
    pair[0] = *value, pair[1] = shape;
    return status ? status : md__onnx_op(call, "Reshape", pair, 2, value, err);
}
