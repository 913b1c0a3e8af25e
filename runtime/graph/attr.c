/*
 * Attributes: deep copies into the graph's arena, and access with defaults. A wrong type yields the
 * default by contract, because front ends differ in how they spell small numbers; an integer is
 * accepted where a float is asked for.
 */
#include "graph/graph_internal.h"

#include <string.h>

static enum md_status copy_lists(struct md_arena *arena, const struct md_attr *from,
                                 struct md_attr *to)
{
    size_t count = from->count > 0 ? (size_t)from->count : 0;
    if (from->type == MD_ATTR_INTS) {
        int64_t *ints = md_arena_array(arena, count + 1, sizeof *ints);
        if (!ints)
            return MD_ERR_MEMORY;
        if (count)
            memcpy(ints, from->ints, count * sizeof *ints);
        to->ints = ints;
    } else if (from->type == MD_ATTR_FLOATS) {
        double *floats = md_arena_array(arena, count + 1, sizeof *floats);
        if (!floats)
            return MD_ERR_MEMORY;
        if (count)
            memcpy(floats, from->floats, count * sizeof *floats);
        to->floats = floats;
    } else if (from->type == MD_ATTR_STRINGS) {
        const char **strings = md_arena_array(arena, count + 1, sizeof *strings);
        if (!strings)
            return MD_ERR_MEMORY;
        for (size_t i = 0; i < count; i++)
            if (!(strings[i] = md_arena_strdup(arena, from->strings[i])))
                return MD_ERR_MEMORY;
        to->strings = strings;
    }
    to->count = (int)count;
    return MD_OK;
}

/* Attribute tensors are small (a fill value), so the graph keeps the bytes and no reference. */
static enum md_status copy_tensor(struct md_arena *arena, const struct md_tensor *from,
                                  struct md_tensor *to, struct md_error *err)
{
    size_t element = md_dtype_bytes(from->dtype), count = 0;
    if (!element || !from->data)
        return md_fail(err, MD_ERR_INVALID, "an attribute's tensor has no type or no data");
    enum md_status status = md_shape_count(&from->shape, element, &count, err);
    if (status)
        return status;
    *to = (struct md_tensor){.dtype = from->dtype, .shape = from->shape};
    if (!(to->data = md_arena_array(arena, count + 1, element)))
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    if (count)
        memcpy(to->data, from->data, count * element);
    return MD_OK;
}

enum md_status md__attr_copy(struct md_arena *arena, const struct md_attr *from, struct md_attr *to,
                             struct md_error *err)
{
    *to = (struct md_attr){.type = from->type, .i = from->i, .f = from->f};
    to->graph = from->type == MD_ATTR_GRAPH ? from->graph : NULL;
    if (!from->name || !from->name[0])
        return md_fail(err, MD_ERR_INVALID, "an attribute has no name");
    if (from->type > MD_ATTR_GRAPH || (from->type == MD_ATTR_GRAPH && !from->graph))
        return md_fail(err, MD_ERR_INVALID, "attribute \"%.60s\" has no known type", from->name);
    to->name = md_arena_strdup(arena, from->name);
    to->s = md_arena_strdup(arena, from->type == MD_ATTR_STRING && from->s ? from->s : "");
    if (!to->name || !to->s || copy_lists(arena, from, to))
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    if (from->type != MD_ATTR_TENSOR)
        return MD_OK;
    enum md_status status = copy_tensor(arena, &from->tensor, &to->tensor, err);
    return status ? md_error_context(err, "attribute \"%.60s\"", from->name) : MD_OK;
}

const struct md_attr *md_node_attr(const struct md_node *node, const char *name)
{
    for (int i = 0; i < node->attr_count; i++)
        if (strcmp(node->attrs[i].name, name) == 0)
            return &node->attrs[i];
    return NULL;
}

int64_t md_node_int(const struct md_node *node, const char *name, int64_t otherwise)
{
    const struct md_attr *attr = md_node_attr(node, name);
    return attr && attr->type == MD_ATTR_INT ? attr->i : otherwise;
}

double md_node_float(const struct md_node *node, const char *name, double otherwise)
{
    const struct md_attr *attr = md_node_attr(node, name);
    if (attr && attr->type == MD_ATTR_FLOAT)
        return attr->f;
    return attr && attr->type == MD_ATTR_INT ? (double)attr->i : otherwise;
}

const char *md_node_string(const struct md_node *node, const char *name, const char *otherwise)
{
    const struct md_attr *attr = md_node_attr(node, name);
    return attr && attr->type == MD_ATTR_STRING ? attr->s : otherwise;
}
