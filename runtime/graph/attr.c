/*
 * Attributes: deep copies into the graph's arena, and access with defaults. A single number of the
 * wrong type yields the default by contract, because front ends differ in how they spell small
 * numbers; an integer is accepted where a float is asked for. Lists, tensors and graphs are refused
 * here when their type is not the one that every operator means by the name, so that rules and
 * kernels may read them without asking.
 */
#include "graph/graph_internal.h"

#include <string.h>

static const char *const type_names[] = {
    [MD_ATTR_INT] = "an integer",           [MD_ATTR_FLOAT] = "a number",
    [MD_ATTR_STRING] = "a string",          [MD_ATTR_INTS] = "a list of integers",
    [MD_ATTR_FLOATS] = "a list of numbers", [MD_ATTR_STRINGS] = "a list of strings",
    [MD_ATTR_TENSOR] = "a tensor",          [MD_ATTR_GRAPH] = "a graph",
};

static enum md_status check_type(const struct md_attr *attr, struct md_error *err)
{
    static const struct {
        const char *name;
        enum md_attr_type type;
    } meant[] = {
        {"axes", MD_ATTR_INTS},
        {"perm", MD_ATTR_INTS},
        {"kernel_shape", MD_ATTR_INTS},
        {"strides", MD_ATTR_INTS},
        {"pads", MD_ATTR_INTS},
        {"dilations", MD_ATTR_INTS},
        {"output_shape", MD_ATTR_INTS},
        {"output_padding", MD_ATTR_INTS},
        {"pooled_shape", MD_ATTR_INTS},
        {"qkv_hidden_sizes", MD_ATTR_INTS},
        {"columns", MD_ATTR_INTS},
        {"activations", MD_ATTR_STRINGS},
        {"activation_alpha", MD_ATTR_FLOATS},
        {"activation_beta", MD_ATTR_FLOATS},
        {"value", MD_ATTR_TENSOR},
        {"then_branch", MD_ATTR_GRAPH},
        {"else_branch", MD_ATTR_GRAPH},
        {"body", MD_ATTR_GRAPH},
    };
    for (size_t i = 0; i < sizeof meant / sizeof *meant; i++)
        if (strcmp(attr->name, meant[i].name) == 0 && attr->type != meant[i].type)
            return md_fail(err, MD_ERR_INVALID, "attribute \"%s\" is %s, wanted %s", attr->name,
                           type_names[attr->type], type_names[meant[i].type]);
    return MD_OK;
}

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
    enum md_status status = check_type(from, err);
    if (status)
        return status;
    to->name = md_arena_strdup(arena, from->name);
    to->s = md_arena_strdup(arena, from->type == MD_ATTR_STRING && from->s ? from->s : "");
    if (!to->name || !to->s || copy_lists(arena, from, to))
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    if (from->type != MD_ATTR_TENSOR)
        return MD_OK;
    status = copy_tensor(arena, &from->tensor, &to->tensor, err);
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

int64_t md_node_ints_at(const struct md_node *node, const char *name, int i, int64_t otherwise)
{
    const struct md_attr *attr = md_node_attr(node, name);
    return attr && attr->type == MD_ATTR_INTS && i < attr->count ? attr->ints[i] : otherwise;
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
