/*
 * Nodes of elementwise operators: elementwise.cu. Operators with many inputs fold them one after
 * the other into their output.
 */
#include "kernels/cpu/ref.h"
#include "kernels/cuda/ops.h"

static bool is_int(enum md_dtype dtype)
{
    return dtype == MD_I64 || dtype == MD_I32;
}

bool md__cuda_function_of(enum md_op op, enum md__cuda_function *function)
{
    switch (op) {
#define X(id)                                                                                      \
    case MD_OP_##id:                                                                               \
        *function = MD__CUDA_##id;                                                                 \
        return true;
        MD__CUDA_UNARY(X)
#undef X
    default:
        return false;
    }
}

/* ---- one input ------------------------------------------------------------------------------- */

static bool unary_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    enum md_op op = node->op;
    if (is_int(in[0].dtype))
        return op == MD_OP_NEG || op == MD_OP_ABS || op == MD_OP_RELU || op == MD_OP_SIGN;
    return md__one_float(in, in_count, out, out_count);
}

static enum md_status unary_enqueue(const struct md_device_call *call, struct md_error *err)
{
    enum md__cuda_function function = MD__CUDA_IDENTITY;
    md__cuda_function_of(call->node->op, &function);
    double a, b;
    md__unary_read_parameters(call->node, &a, &b);
    if (function == MD__CUDA_GELU && md_node_string(call->node, "approximate", "none")[0] == 't')
        function = MD__CUDA_GELU_TANH;
    md__cuda_stream stream = md__cuda_stream_of(call->stream);
    int64_t count = md__elements(&call->out[0]);
    int storage = (int)call->in[0].storage;
    if (is_int(call->in[0].dtype))
        return md__launched(md__cuda_unary_int(stream, storage, function, call->in[0].data,
                                               call->out[0].data, count),
                            err);
    return md__launched(md__cuda_unary(stream, storage, function, (float)a, (float)b,
                                       call->in[0].data, call->out[0].data, count),
                        err);
}

const struct md_device_kernel md__cuda_op_unary = {
    .supports = unary_supports, .enqueue = unary_enqueue, .in_place = true};

static bool not_supports(const struct md_node *node, const struct md_device_value *in, int in_count,
                         const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out, (void)out_count;
    return in[0].dtype == MD_BOOL;
}

static enum md_status not_enqueue(const struct md_device_call *call, struct md_error *err)
{
    return md__launched(md__cuda_not(md__cuda_stream_of(call->stream), call->in[0].data,
                                     call->out[0].data, md__elements(&call->out[0])),
                        err);
}

const struct md_device_kernel md__cuda_op_not_bool = {
    .supports = not_supports, .enqueue = not_enqueue, .in_place = true};

static bool float_input(const struct md_node *node, const struct md_device_value *in, int in_count,
                        const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out, (void)out_count;
    return md__is_float_storage(in[0].storage);
}

static enum md_status test_enqueue(const struct md_device_call *call, struct md_error *err)
{
    bool nan = call->node->op == MD_OP_IS_NAN;
    return md__launched(md__cuda_test(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                      nan, md_node_int(call->node, "detect_negative", 1) != 0,
                                      md_node_int(call->node, "detect_positive", 1) != 0,
                                      call->in[0].data, call->out[0].data,
                                      md__elements(&call->out[0])),
                        err);
}

const struct md_device_kernel md__cuda_op_test = {.supports = float_input, .enqueue = test_enqueue};

static bool clip_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    return is_int(in[0].dtype) || md__one_float(in, in_count, out, out_count);
}

static enum md_status clip_enqueue(const struct md_device_call *call, struct md_error *err)
{
    return md__launched(md__cuda_clip(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                      call->in[0].data, md__data(call, 1), md__data(call, 2),
                                      call->out[0].data, md__elements(&call->out[0])),
                        err);
}

const struct md_device_kernel md__cuda_op_clip = {
    .supports = clip_supports, .enqueue = clip_enqueue, .in_place = true};

static bool is_castable(enum md_dtype storage)
{
    return md__is_float_storage(storage) || is_int(storage) || storage == MD_BOOL ||
           storage == MD_U8 || storage == MD_I8;
}

/* Float to float is a copy where graph dtypes differ but storages do not: no rounding to what the
 * graph calls the dtype. */
static bool cast_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out_count;
    return is_castable(in[0].storage) && is_castable(out[0].storage);
}

static enum md_status cast_enqueue(const struct md_device_call *call, struct md_error *err)
{
    return md__launched(md__cuda_cast(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                      (int)call->out[0].storage, call->in[0].data,
                                      call->out[0].data, md__elements(&call->out[0])),
                        err);
}

const struct md_device_kernel md__cuda_op_cast = {.supports = cast_supports,
                                                  .enqueue = cast_enqueue};

/* ---- with broadcasting ----------------------------------------------------------------------- */

static bool pair_of(const struct md_node *node, enum md__cuda_pair *pair)
{
    switch (node->op) {
    case MD_OP_SUM:
    case MD_OP_MEAN:
        *pair = MD__CUDA_PAIR_ADD;
        return true;
    case MD_OP_MOD:
        *pair = md_node_int(node, "fmod", 0) ? MD__CUDA_PAIR_FMOD : MD__CUDA_PAIR_MOD;
        return true;
    case MD_OP_BITWISE_AND:
        *pair = MD__CUDA_PAIR_AND;
        return true;
    case MD_OP_BITWISE_OR:
        *pair = MD__CUDA_PAIR_OR;
        return true;
    case MD_OP_BITWISE_XOR:
        *pair = MD__CUDA_PAIR_XOR;
        return true;

#define PAIR(id)                                                                                   \
    case MD_OP_##id:                                                                               \
        *pair = MD__CUDA_PAIR_##id;                                                                \
        return true;
        PAIR(ADD)
        PAIR(SUB)
        PAIR(MUL)
        PAIR(DIV)
        PAIR(POW)
        PAIR(MIN)
        PAIR(MAX)
        PAIR(PRELU) PAIR(SWIGLU) PAIR(EQUAL) PAIR(LESS) PAIR(LESS_OR_EQUAL) PAIR(GREATER)
            PAIR(GREATER_OR_EQUAL) PAIR(AND) PAIR(OR) PAIR(XOR)
#undef PAIR
#undef X
                default : return false;
    }
}

static bool takes_ints(enum md__cuda_pair pair)
{
    switch (pair) {
    case MD__CUDA_PAIR_ADD:
    case MD__CUDA_PAIR_SUB:
    case MD__CUDA_PAIR_MUL:
    case MD__CUDA_PAIR_DIV:
    case MD__CUDA_PAIR_MIN:
    case MD__CUDA_PAIR_MAX:
    case MD__CUDA_PAIR_MOD:
    case MD__CUDA_PAIR_FMOD:
    case MD__CUDA_PAIR_AND:
    case MD__CUDA_PAIR_OR:
    case MD__CUDA_PAIR_XOR:
        return true;
    default:
        return false;
    }
}

static bool is_logic(enum md_op op)
{
    return op == MD_OP_AND || op == MD_OP_OR || op == MD_OP_XOR;
}

static bool same_dtypes(const struct md_device_value *in, int in_count)
{
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype != in[0].dtype || in[i].storage != in[0].storage)
            return false;
    return true;
}

static bool binary_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    enum md__cuda_pair pair;
    if (!pair_of(node, &pair) || !same_dtypes(in, in_count))
        return false;
    if (in[0].dtype == MD_BOOL)
        return is_logic(node->op);
    if (is_int(in[0].dtype))
        return takes_ints(pair) && !is_logic(node->op) && node->op != MD_OP_MEAN;
    bool bits = pair == MD__CUDA_PAIR_AND || pair == MD__CUDA_PAIR_OR || pair == MD__CUDA_PAIR_XOR;
    return !bits && md__one_float(in, in_count, out, out_count);
}

static enum md_status fold(const struct md_device_call *call, const struct md_device_value *a,
                           const struct md_device_value *b, float scale, struct md_error *err)
{
    enum md__cuda_pair pair = MD__CUDA_PAIR_ADD;
    pair_of(call->node, &pair);
    struct md__cuda_map map;
    md__map_broadcast(&map, &call->out[0].shape, (const struct md_device_value *[]){a, b}, 2);
    return md__launched(md__cuda_binary(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                        pair, (float)md_node_float(call->node, "alpha", 1), scale,
                                        &map, a->data, b->data, call->out[0].data),
                        err);
}

/* One input: broadcasting it alone is to add it to nothing, or to take the larger of it and itself.
 */
static enum md_status binary_enqueue(const struct md_device_call *call, struct md_error *err)
{
    if (call->in_count == 1) {
        struct md__cuda_map map;
        const struct md_device_value *in = &call->in[0];
        md__map_broadcast(&map, &call->out[0].shape, (const struct md_device_value *[]){in, in}, 2);
        return md__launched(md__cuda_binary(md__cuda_stream_of(call->stream), (int)in->storage,
                                            MD__CUDA_PAIR_MAX, 1, 1, &map, in->data, in->data,
                                            call->out[0].data),
                            err);
    }
    enum md_status status = MD_OK;
    for (int i = 1; i < call->in_count && status == MD_OK; i++) {
        bool last = i == call->in_count - 1 && call->node->op == MD_OP_MEAN;
        status = fold(call, i == 1 ? &call->in[0] : &call->out[0], &call->in[i],
                      last ? 1.0f / (float)call->in_count : 1.0f, err);
    }
    return status;
}

const struct md_device_kernel md__cuda_op_binary = {.supports = binary_supports,
                                                    .enqueue = binary_enqueue};

/* com.microsoft's: x, plus a bias that follows its last axis where there is one, through Gelu. */
static enum md_status bias_gelu_enqueue(const struct md_device_call *call, struct md_error *err)
{
    enum md_op op = call->node->op;
    const struct md_device_value *in = call->in, *y = &call->out[0];
    const void *x = in[0].data;
    int error = 0;
    if (md__given(in, call->in_count, 1)) {
        struct md__cuda_map map;
        md__map_broadcast(&map, &y->shape, (const struct md_device_value *[]){&in[0], &in[1]}, 2);
        error = md__cuda_binary(md__cuda_stream_of(call->stream), (int)y->storage,
                                MD__CUDA_PAIR_ADD, 1, 1, &map, x, in[1].data, y->data);
        x = y->data;
    }
    if (!error)
        error = md__cuda_unary(md__cuda_stream_of(call->stream), (int)y->storage,
                               op == MD_OP_BIAS_GELU    ? MD__CUDA_GELU
                               : op == MD_OP_QUICK_GELU ? MD__CUDA_SWISH
                                                        : MD__CUDA_GELU_TANH,
                               (float)md_node_float(call->node, "alpha", 1.702f), 0, x, y->data,
                               md__elements(y));
    return md__launched(error, err);
}

const struct md_device_kernel md__cuda_op_bias_gelu = {.supports = md__floats_only,
                                                       .enqueue = bias_gelu_enqueue};

static bool compare_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    (void)out, (void)out_count;
    if (!same_dtypes(in, in_count))
        return false;
    return is_int(in[0].dtype) || md__is_float_storage(in[0].storage) ||
           (in[0].dtype == MD_BOOL && node->op == MD_OP_EQUAL);
}

static enum md_status compare_enqueue(const struct md_device_call *call, struct md_error *err)
{
    enum md__cuda_pair pair = MD__CUDA_PAIR_EQUAL;
    pair_of(call->node, &pair);
    struct md__cuda_map map;
    md__map_broadcast(&map, &call->out[0].shape,
                      (const struct md_device_value *[]){&call->in[0], &call->in[1]}, 2);
    return md__launched(md__cuda_compare(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                         pair, &map, call->in[0].data, call->in[1].data,
                                         call->out[0].data),
                        err);
}

const struct md_device_kernel md__cuda_op_compare = {.supports = compare_supports,
                                                     .enqueue = compare_enqueue};

static bool where_supports(const struct md_node *node, const struct md_device_value *in,
                           int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out_count;
    return in[1].storage == in[2].storage && in[1].storage == out[0].storage;
}

static enum md_status where_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_map map;
    const struct md_device_value *in = call->in;
    md__map_broadcast(&map, &call->out[0].shape,
                      (const struct md_device_value *[]){&in[0], &in[1], &in[2]}, 3);
    return md__launched(md__cuda_where(md__cuda_stream_of(call->stream),
                                       (int)md_dtype_bytes(in[1].storage), &map, in[0].data,
                                       in[1].data, in[2].data, call->out[0].data),
                        err);
}

const struct md_device_kernel md__cuda_op_where = {.supports = where_supports,
                                                   .enqueue = where_enqueue};
