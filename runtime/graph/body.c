/* The emitter that bodies are written with. */
#include "graph/body.h"

int md__emit_node(struct md_emit *emit, const char *op, const int *in, int in_count,
                  const struct md_attr *attrs, int attr_count)
{
    int out = MD_NONE;
    if (!emit->status)
        emit->status = md_graph_node(emit->graph, op, emit->name, in, in_count, attrs, attr_count,
                                     &out, 1, emit->err);
    return out;
}

int md__emit_constant(struct md_emit *emit, enum md_dtype dtype, int rank, const int64_t *dim,
                      const void *data)
{
    int value = MD_NONE;
    /* Borrowed: md_graph_constant copies it. */
    struct md_tensor tensor = {
        .dtype = dtype, .shape = md_shape_of(rank, dim), .data = (void *)(uintptr_t)data};
    if (!emit->status)
        emit->status = md_graph_constant(emit->graph, "", &tensor, &value, emit->err);
    return value;
}

int md__emit_float(struct md_emit *emit, double value)
{
    return md__emit_constant(emit, MD_F32, 0, NULL, &(float){(float)value});
}

int md__emit_ints(struct md_emit *emit, int count, const int64_t *ints)
{
    return md__emit_constant(emit, MD_I64, 1, &(int64_t){count}, ints);
}
