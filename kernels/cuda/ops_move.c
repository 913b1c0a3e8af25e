/*
 * Nodes that move elements: move.cu. Most of them are strides; md__map_merge makes what is left of
 * a Reshape-like one a plain copy.
 */
#include "kernels/cuda/ops.h"

#include <string.h>

static int bytes_of(const struct md_device_value *value)
{
    return (int)md_dtype_bytes(value->storage);
}

/* Moves are of bits: what comes out is stored as it went in. */
static bool move_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in_count, (void)out_count;
    return in[0].storage == out[0].storage;
}

/* Over the output in order; tensor 1 of the map is the output. */
static struct md__cuda_map over(const struct md_shape *shape)
{
    struct md__cuda_map map = {.rank = shape->rank};
    for (int i = 0; i < shape->rank; i++)
        map.dim[i] = shape->dim[i];
    md__strides(shape, map.stride[1]);
    return map;
}

static enum md_status move(const struct md_device_call *call, struct md__cuda_map *map, int bytes,
                           const void *from, void *to, struct md_error *err)
{
    md__map_merge(map, 2);
    return md__launched(md__cuda_move(md__cuda_stream_of(call->stream), bytes, map, from, to), err);
}

/* Element `at` of a device tensor. */
static char *element(const struct md_device_value *value, int64_t at)
{
    return (char *)value->data + at * bytes_of(value);
}

static enum md_status copy_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_map map = {
        .rank = 1, .dim = {md__elements(&call->out[0])}, .stride = {{1}, {1}}};
    if (call->in[0].data == call->out[0].data)
        return MD_OK;
    return move(call, &map, bytes_of(&call->out[0]), call->in[0].data, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_copy = {
    .supports = move_supports, .enqueue = copy_enqueue, .host_inputs = 1u << 1, .in_place = true};

static enum md_status transpose_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    const struct md_attr *perm = md_node_attr(call->node, "perm");
    struct md__cuda_map map = over(&call->out[0].shape);
    int64_t stride[MD_RANK_MAX];
    md__strides(shape, stride);
    for (int i = 0; i < shape->rank; i++) {
        int64_t asked = perm && i < perm->count ? perm->ints[i] : shape->rank - 1 - i;
        int axis = md__axis(asked, shape->rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "bad perm");
        map.stride[0][i] = stride[axis];
    }
    return move(call, &map, bytes_of(&call->out[0]), call->in[0].data, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_transpose = {.supports = move_supports,
                                                       .enqueue = transpose_enqueue};

static enum md_status expand_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *from = &call->in[0].shape;
    struct md__cuda_map map = over(&call->out[0].shape);
    int64_t stride[MD_RANK_MAX];
    md__strides(from, stride);
    int lead = map.rank - from->rank;
    for (int i = 0; i < from->rank; i++)
        map.stride[0][lead + i] = from->dim[i] == 1 ? 0 : stride[i];
    return move(call, &map, bytes_of(&call->out[0]), call->in[0].data, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_expand = {
    .supports = move_supports, .enqueue = expand_enqueue, .host_inputs = 1u << 1};

/* Where a slice begins: as far as the axis goes. */
static int64_t slice_start(int64_t start, int64_t step, int64_t n)
{
    start += start < 0 ? n : 0;
    start = start < 0 ? 0 : start;
    int64_t most = step > 0 ? n : n - 1;
    return start > most ? most : start;
}

static enum md_status slice_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    struct md__cuda_map map = over(&call->out[0].shape);
    int64_t base = 0, stride[MD_RANK_MAX];
    md__strides(&in[0].shape, stride);
    memcpy(map.stride[0], stride, sizeof stride);
    if (md__elements(&call->out[0]) == 0)
        return MD_OK;
    for (int64_t i = 0; i < md__elements(&in[1]); i++) {
        bool axes = md__given(in, call->in_count, 3), steps = md__given(in, call->in_count, 4);
        int axis = md__axis(axes ? md__known_int(&in[3], i) : i, in[0].shape.rank);
        int64_t step = steps ? md__known_int(&in[4], i) : 1;
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", in[0].shape.rank);
        base += slice_start(md__known_int(&in[1], i), step, in[0].shape.dim[axis]) * stride[axis];
        map.stride[0][axis] = stride[axis] * step;
    }
    return move(call, &map, bytes_of(&call->out[0]), element(&in[0], base), call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_slice = {
    .supports = move_supports, .enqueue = slice_enqueue, .host_inputs = 0x1e};

/* ---- Concat, Split --------------------------------------------------------------------------- */

static bool parts_support(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    enum md_dtype storage = in[0].storage;
    int count = node->op == MD_OP_SPLIT ? 1 : in_count;
    for (int i = 0; i < count; i++)
        if (in[i].storage != storage)
            return false;
    for (int i = 0; i < out_count; i++)
        if (out[i].storage != storage)
            return false;
    return true;
}

/* As move.c of the CPU has it: tensors are `outer` runs of elements. */
static enum md_status move_part(const struct md_device_call *call,
                                const struct md_device_value *whole,
                                const struct md_device_value *part, int axis, int64_t at,
                                bool joining, struct md_error *err)
{
    int64_t run = (int64_t)md__span(&part->shape, axis, part->shape.rank);
    int64_t whole_run = (int64_t)md__span(&whole->shape, axis, whole->shape.rank);
    struct md__cuda_map map = {
        .rank = 2,
        .dim = {(int64_t)md__span(&whole->shape, 0, axis), run},
        .stride = {{joining ? run : whole_run, 1}, {joining ? whole_run : run, 1}}};
    const void *from = joining ? part->data : element(whole, at);
    return move(call, &map, bytes_of(whole), from, joining ? element(whole, at) : part->data, err);
}

static enum md_status parts_enqueue(const struct md_device_call *call, struct md_error *err)
{
    bool joining = call->node->op == MD_OP_CONCAT;
    const struct md_device_value *whole = joining ? &call->out[0] : &call->in[0];
    const struct md_device_value *parts = joining ? call->in : call->out;
    int count = joining ? call->in_count : call->out_count;
    int axis = md__axis(md_node_int(call->node, "axis", 0), whole->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", whole->shape.rank);
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        enum md_status status = move_part(call, whole, &parts[i], axis, at, joining, err);
        if (status)
            return status;
        at += (int64_t)md__span(&parts[i].shape, axis, parts[i].shape.rank);
    }
    return MD_OK;
}

const struct md_device_kernel md__cuda_op_concat = {.supports = parts_support,
                                                    .enqueue = parts_enqueue};
const struct md_device_kernel md__cuda_op_split = {
    .supports = parts_support, .enqueue = parts_enqueue, .host_inputs = 1u << 1};

/* ---- Tile, DepthToSpace, SpaceToDepth -------------------------------------------------------- */

/* An axis that repeats is two: how often, and itself. */
static bool tile_map(const struct md_device_value *in, const struct md_device_value *out,
                     struct md__cuda_map *map)
{
    int64_t from[MD_RANK_MAX], to[MD_RANK_MAX];
    const struct md_shape *shape = &in->shape;
    md__strides(shape, from);
    md__strides(&out->shape, to);
    *map = (struct md__cuda_map){0};
    for (int i = 0; i < shape->rank; i++) {
        int64_t times = shape->dim[i] ? out->shape.dim[i] / shape->dim[i] : 0;
        for (int k = times == 1; k < 2; k++) {
            if (map->rank == MD__CUDA_RANK)
                return false;
            map->dim[map->rank] = k ? shape->dim[i] : times;
            map->stride[0][map->rank] = k ? from[i] : 0;
            map->stride[1][map->rank++] = k ? to[i] : to[i] * shape->dim[i];
        }
    }
    return true;
}

static bool tile_supports(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    struct md__cuda_map map;
    return move_supports(node, in, in_count, out, out_count) && tile_map(&in[0], &out[0], &map);
}

static enum md_status tile_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_map map;
    tile_map(&call->in[0], &call->out[0], &map);
    return move(call, &map, bytes_of(&call->out[0]), call->in[0].data, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_tile = {
    .supports = tile_supports, .enqueue = tile_enqueue, .host_inputs = 1u << 1};

/* Both are [n, c, h, b, w, b] between their images, whose order of b, b, c on the deep side DCR and
 * CRD tell apart; SpaceToDepth has DCR's only. */
static enum md_status depth_enqueue(const struct md_device_call *call, struct md_error *err)
{
    bool to_space = call->node->op == MD_OP_DEPTH_TO_SPACE;
    const struct md_shape *deep = to_space ? &call->in[0].shape : &call->out[0].shape;
    int64_t b = md_node_int(call->node, "blocksize", 1);
    int64_t channels = deep->dim[1] / (b * b), h = deep->dim[2], w = deep->dim[3], plane = h * w;
    bool crd = to_space && md_node_string(call->node, "mode", "DCR")[0] == 'C';
    int64_t c_step = crd ? b * b * plane : plane, b_step = crd ? plane : channels * plane;
    struct md__cuda_map map = {.rank = 6, .dim = {deep->dim[0], channels, h, b, w, b}};
    int64_t low[6] = {deep->dim[1] * plane, c_step, w, b * b_step, 1, b_step};
    int64_t high[6] = {deep->dim[1] * plane, b * b * plane, b * b * w, b * w, b, 1};
    memcpy(map.stride[0], to_space ? low : high, sizeof low);
    memcpy(map.stride[1], to_space ? high : low, sizeof low);
    return move(call, &map, bytes_of(&call->out[0]), call->in[0].data, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_depth = {.supports = move_supports,
                                                   .enqueue = depth_enqueue};

/* ---- by index -------------------------------------------------------------------------------- */

static bool gather_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out_count;
    size_t bytes = md_dtype_bytes(in[0].storage);
    bool known = md__is_float_storage(in[0].storage) || in[0].dtype == MD_I64 ||
                 in[0].dtype == MD_I32 || bytes == 1;
    return known && in[0].storage == out[0].storage &&
           (in[1].dtype == MD_I64 || in[1].dtype == MD_I32) &&
           md__axis(md_node_int(node, "axis", 0), in[0].shape.rank) != MD_NONE;
}

static enum md_status gather_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", 0), shape->rank);
    return md__launched(md__cuda_gather(md__cuda_stream_of(call->stream), (int)call->in[0].storage,
                                        (int)call->in[1].storage, call->in[0].data,
                                        call->in[1].data, call->out[0].data,
                                        (int64_t)md__span(shape, 0, axis), shape->dim[axis],
                                        (int64_t)md__span(shape, axis + 1, shape->rank),
                                        md__elements(&call->in[1])),
                        err);
}

const struct md_device_kernel md__cuda_op_gather = {.supports = gather_supports,
                                                    .enqueue = gather_enqueue};

static enum md_status gather_elements_enqueue(const struct md_device_call *call,
                                              struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape, *out = &call->out[0].shape;
    int axis = md__axis(md_node_int(call->node, "axis", 0), shape->rank);
    struct md__cuda_map map = over(out);
    md__strides(shape, map.stride[0]);
    int64_t step = map.stride[0][axis];
    map.stride[0][axis] = 0;
    md__map_merge(&map, 2);
    return md__launched(md__cuda_gather_elements(md__cuda_stream_of(call->stream),
                                                 (int)call->in[0].storage, (int)call->in[1].storage,
                                                 &map, call->in[0].data, call->in[1].data,
                                                 call->out[0].data, shape->dim[axis], step),
                        err);
}

const struct md_device_kernel md__cuda_op_gather_elements = {.supports = gather_supports,
                                                             .enqueue = gather_elements_enqueue};

/* ---- Pad, Trilu ------------------------------------------------------------------------------ */

static bool pad_mode(const struct md_node *node, enum md__cuda_padding *mode)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = md_node_string(node, "mode", "constant");
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            *mode = (enum md__cuda_padding)i;
            return true;
        }
    return false;
}

static bool pad_supports(const struct md_node *node, const struct md_device_value *in, int in_count,
                         const struct md_device_value *out, int out_count)
{
    enum md__cuda_padding mode;
    (void)out_count;
    return pad_mode(node, &mode) && in[0].storage == out[0].storage &&
           (!md__given(in, in_count, 2) || in[2].storage == in[0].storage);
}

static enum md_status pad_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    const struct md_shape *shape = &in[0].shape;
    bool axes = md__given(in, call->in_count, 3);
    int64_t count = axes ? md__elements(&in[3]) : shape->rank;
    struct md__cuda_pad pad = {.bytes = bytes_of(&in[0]),
                               .rank = shape->rank,
                               .count = md__elements(&call->out[0]),
                               .x = in[0].data,
                               .value = md__data(call, 2),
                               .y = call->out[0].data};
    pad_mode(call->node, &pad.mode);
    md__strides(shape, pad.stride);
    for (int i = 0; i < shape->rank; i++) {
        pad.in[i] = shape->dim[i];
        pad.out[i] = call->out[0].shape.dim[i];
    }
    for (int64_t i = 0; i < count; i++) {
        int axis = md__axis(axes ? md__known_int(&in[3], i) : i, shape->rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", shape->rank);
        pad.before[axis] = md__known_int(&in[1], i);
    }
    return md__launched(md__cuda_pad(md__cuda_stream_of(call->stream), &pad), err);
}

const struct md_device_kernel md__cuda_op_pad = {
    .supports = pad_supports, .enqueue = pad_enqueue, .host_inputs = 1u << 1 | 1u << 3};

static enum md_status trilu_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    bool given = md__given(call->in, call->in_count, 1);
    return md__launched(md__cuda_trilu(md__cuda_stream_of(call->stream), bytes_of(&call->in[0]),
                                       md_node_int(call->node, "upper", 1) != 0,
                                       given ? md__known_int(&call->in[1], 0) : 0, call->in[0].data,
                                       call->out[0].data,
                                       (int64_t)md__span(shape, 0, shape->rank - 2),
                                       shape->dim[shape->rank - 2], shape->dim[shape->rank - 1]),
                        err);
}

const struct md_device_kernel md__cuda_op_trilu = {
    .supports = move_supports, .enqueue = trilu_enqueue, .host_inputs = 1u << 1};
