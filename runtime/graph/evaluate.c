/* Inference, kernel choice and stand-alone evaluation of one node. */
#include "graph/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

static enum md_status in_node(const struct md_node *node, struct md_error *err)
{
    char text[160];
    return md_error_context(err, "%s", md__node_text(node, text, sizeof text));
}

enum md_status md__infer_node(const struct md_node *node, const struct md_value_info *in,
                              struct md_value_info *out, struct md_error *err)
{
    struct md_error own = {0};
    struct md_error *cause = err ? err : &own;
    memset(out, 0, (size_t)node->out_count * sizeof *out);
    enum md_status status =
        md_op_info(node->op)->infer(node, in, node->in_count, out, node->out_count, cause);
    for (int i = 0; !status && i < node->out_count; i++) {
        size_t bytes;
        if (!md_dtype_bytes(out[i].dtype))
            status = md_fail(cause, MD_ERR_INTERNAL, "rule gives output %d no dtype", i);
        else if (md__shape_is_planned(&out[i].shape))
            status = md__shape_bytes(&out[i].shape, out[i].dtype, &bytes, cause);
    }
    return status ? in_node(node, cause) : MD_OK;
}

bool md__shape_is_planned(const struct md_shape *shape)
{
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] == MD_DIM_DATA)
            return false;
    return true;
}

enum md_status md_kernel_output(const struct md_kernel_call *call, int i,
                                const struct md_shape *shape, struct md_error *err)
{
    struct md_tensor *out = &call->out[i];
    struct md_tail *tail = call->tail;
    size_t bytes = 0;
    if (!tail || out->data)
        return md_fail(err, MD_ERR_INTERNAL, "output %d is not the kernel's to make", i);
    enum md_status status = md__shape_bytes(shape, out->dtype, &bytes, err);
    if (!status && (bytes > tail->bytes_max || tail->bytes > tail->bytes_max - bytes))
        status = md_fail(err, MD_ERR_TOO_LARGE,
                         "output %d takes %zu bytes, with what else depends on data more than %zu",
                         i, bytes, tail->bytes_max);
    if (!status)
        status = md_tensor_new(out->dtype, shape, out, err);
    if (!status)
        tail->bytes += bytes;
    return status;
}

const struct md_kernel *md__kernel_find(const struct md_backend *backend,
                                        const struct md_node *node, const struct md_tensor *in)
{
    const struct md_kernel *kernel = backend ? backend->kernels[node->op] : NULL;
    if (kernel && kernel->supports && !kernel->supports(node, in, node->in_count))
        return NULL;
    return kernel;
}

/* Infers outputs from real tensors and allocates those whose size is known; the rest is the
 * kernel's, in `tail`. */
static enum md_status make_outputs(const struct md_node *node, const struct md_tensor *in,
                                   struct md_tensor *out, size_t bytes_max, struct md_tail *tail,
                                   struct md_error *err)
{
    size_t in_count = (size_t)node->in_count, out_count = (size_t)node->out_count;
    struct md_value_info *infos = calloc(in_count + out_count, sizeof *infos);
    if (!infos)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < in_count; i++)
        if (in[i].data)
            infos[i] = (struct md_value_info){
                .dtype = in[i].dtype, .shape = in[i].shape, .known = in[i].data};
    struct md_value_info *made = infos + in_count;
    enum md_status status = md__infer_node(node, infos, made, err);
    tail->bytes_max = bytes_max;
    for (size_t i = 0; !status && i < out_count; i++) {
        size_t bytes = 0;
        if (!md__shape_is_planned(&made[i].shape))
            continue;
        status = md__shape_bytes(&made[i].shape, made[i].dtype, &bytes, err);
        if (!status && bytes > tail->bytes_max - tail->bytes)
            status =
                md_fail(err, MD_ERR_TOO_LARGE, "its outputs take more than %zu bytes", bytes_max);
        tail->bytes += status ? 0 : bytes;
    }
    for (size_t i = 0; !status && i < out_count; i++) {
        out[i].dtype = made[i].dtype;
        if (md__shape_is_planned(&made[i].shape))
            status = md_tensor_new(made[i].dtype, &made[i].shape, &out[i], err);
    }
    free(infos);
    return status;
}

static enum md_status run_kernel(const struct md_kernel *kernel, struct md_pool *pool,
                                 const struct md_node *node, const struct md_tensor *in,
                                 const struct md_tensor *shown, struct md_tensor *out,
                                 struct md_tail *tail, struct md_error *err)
{
    void *prepared = NULL, *scratch = NULL;
    size_t prepared_bytes = 0, scratch_bytes = 0;
    enum md_status status = MD_OK;
    if (kernel->prepare)
        status = kernel->prepare(node, shown, node->in_count, &prepared, &prepared_bytes, err);
    if (!status && kernel->scratch_bytes)
        scratch_bytes = kernel->scratch_bytes(node, in, node->in_count, md_pool_threads(pool));
    if (!status && posix_memalign(&scratch, 64, scratch_bytes + 64))
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (!status) {
        struct md_kernel_call call = {.node = node,
                                      .in = in,
                                      .out = out,
                                      .in_count = node->in_count,
                                      .out_count = node->out_count,
                                      .scratch = scratch,
                                      .prepared = prepared,
                                      .pool = pool,
                                      .tail = tail};
        status = kernel->run(&call, err);
    }
    free(scratch);
    md_kernel_unprepare(kernel, prepared, prepared_bytes);
    return status ? in_node(node, err) : MD_OK;
}

enum md_status md__evaluate_node(const struct md_backend *backend, struct md_pool *pool,
                                 const struct md_node *node, const struct md_tensor *in,
                                 const struct md_tensor *shown, struct md_tensor *out,
                                 size_t bytes_max, struct md_error *err)
{
    struct md_error own = {0};
    struct md_error *cause = err ? err : &own;
    memset(out, 0, (size_t)node->out_count * sizeof *out);
    const struct md_kernel *kernel = md__kernel_find(backend, node, shown);
    if (!kernel)
        return md_fail(cause, MD_ERR_UNSUPPORTED, "%s is not supported by %s",
                       md_op_info(node->op)->name, backend ? backend->name : "no backend");
    struct md_tail tail = {0};
    enum md_status status = make_outputs(node, in, out, bytes_max, &tail, cause);
    bool empty = true; /* no data: the kernel is to make it */
    for (int i = 0; i < node->out_count; i++)
        empty = empty && out[i].data && md_tensor_count(&out[i]) == 0;
    if (!status && !empty)
        status = run_kernel(kernel, pool, node, in, shown, out, &tail, cause);
    for (int i = 0; !status && i < node->out_count; i++)
        if (!out[i].data)
            status = md_fail(cause, MD_ERR_INTERNAL, "%s did not make its output %d",
                             md_op_info(node->op)->name, i);
    if (status)
        md_tensors_unref(out, node->out_count);
    return status;
}

enum md_status md__node_room_init(struct md_node_room *room, const struct md_graph *graph,
                                  struct md_error *err)
{
    size_t in = 1, out = 1;
    for (int i = 0; i < graph->node_count; i++) {
        in = (size_t)graph->nodes[i].in_count > in ? (size_t)graph->nodes[i].in_count : in;
        out = (size_t)graph->nodes[i].out_count > out ? (size_t)graph->nodes[i].out_count : out;
    }
    for (int i = 0; i < graph->region_count; i++) {
        const struct md_node *fused = &graph->regions[i].fused;
        in = (size_t)fused->in_count > in ? (size_t)fused->in_count : in;
        out = (size_t)fused->out_count > out ? (size_t)fused->out_count : out;
    }
    room->in_info = calloc(in, sizeof *room->in_info);
    room->out_info = calloc(out, sizeof *room->out_info);
    room->in = calloc(in, sizeof *room->in);
    room->shown = calloc(in, sizeof *room->shown);
    room->asked = calloc(in, sizeof *room->asked);
    room->out = calloc(out, sizeof *room->out);
    if (room->in_info && room->out_info && room->in && room->shown && room->out && room->asked)
        return MD_OK;
    md__node_room_fini(room);
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

void md__node_room_fini(struct md_node_room *room)
{
    free(room->in_info);
    free(room->out_info);
    free(room->in);
    free(room->shown);
    free(room->out);
    free(room->asked);
    *room = (struct md_node_room){0};
}
