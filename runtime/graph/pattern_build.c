/* The results of patterns (pattern.h): one operator on what a match has found. */
#include <math.h>

#include "graph/pattern.h"
#include "graph/pattern_text.h"

enum { INPUTS_MAX = 8, ATTRS_MAX = 16 };

struct building {
    struct md__rewrite *rewrite;
    const struct md__pattern *pattern;
    const struct md__match *match;
    struct md__text text;
    bool refused;
    int in[INPUTS_MAX], in_count;
    struct md_attr attrs[ATTRS_MAX];
    char names[ATTRS_MAX][MD_TEXT_NAME], strings[ATTRS_MAX][MD_TEXT_NAME];
    int attr_count;
};

static int slot_named(struct building *building, const char *name)
{
    for (int i = 0; i < building->pattern->slot_count; i++)
        if (strcmp(building->pattern->names[i], name) == 0)
            return i;
    building->text.bad = true;
    return 0;
}

static int read_axis(struct building *building)
{
    double axis = 0;
    building->text.bad |= !md__text_number(&building->text, &axis);
    md__text_expect(&building->text, ")");
    return (int)axis;
}

static int value_named(struct building *building, const char *name)
{
    return building->match->values[slot_named(building, name)];
}

/* As many elements of the number as x has along the axis. */
static enum md_status add_filled(struct building *building, int axis, float number, int *value,
                                 struct md_error *err)
{
    int64_t size = md__rw_dim(building->rewrite, value_named(building, "x"), axis);
    struct md_tensor tensor;
    building->refused = size < 1;
    if (building->refused)
        return MD_OK;
    const struct md_shape shape = {1, {size}};
    enum md_status status = md_tensor_new(MD_F32, &shape, &tensor, err);
    if (status)
        return status;
    for (int64_t i = 0; i < size; i++)
        ((float *)tensor.data)[i] = number;
    status = md__rw_add_constant(building->rewrite, &tensor, value, err);
    md_tensor_unref(&tensor);
    return status;
}

/* The constant as a list, when it has one element for each place along the axis of x. */
static enum md_status add_vector(struct building *building, int constant, int axis, int *value,
                                 struct md_error *err)
{
    struct md_tensor tensor = *md__rw_constant(building->rewrite, constant);
    int x = value_named(building, "x"), rank = md__rw_rank(building->rewrite, x);
    int64_t size = md__rw_dim(building->rewrite, x, axis);
    int from_end = axis < 0 ? -axis : rank - axis, at = tensor.shape.rank - from_end;
    building->refused = size < 1 || rank < 0 || at < 0 || tensor.shape.dim[at] != size ||
                        md_tensor_count(&tensor) != (size_t)size;
    if (building->refused)
        return MD_OK;
    *value = constant;
    if (tensor.shape.rank == 1)
        return MD_OK;
    tensor.shape = (struct md_shape){1, {size}};
    return md__rw_add_constant(building->rewrite, &tensor, value, err);
}

static enum md_status read_input(struct building *building, const char *name, int *value,
                                 struct md_error *err)
{
    char word[MD_TEXT_NAME];
    if (!md__text_take(&building->text, "(")) {
        *value = value_named(building, name);
        return MD_OK;
    }
    if (strcmp(name, "vector") != 0)
        return add_filled(building, read_axis(building), name[0] == 'o' ? 1 : 0, value, err);
    md__text_name(&building->text, word);
    md__text_expect(&building->text, ",");
    int constant = value_named(building, word);
    return add_vector(building, constant, read_axis(building), value, err);
}

static void read_attr(struct building *building, const char *name)
{
    struct md__text *text = &building->text;
    struct md_attr *attr = &building->attrs[building->attr_count];
    char *kept = building->names[building->attr_count];
    char *string = building->strings[building->attr_count++];
    strcpy(kept, name);
    *attr = (struct md_attr){.name = kept, .type = MD_ATTR_FLOAT};
    if (md__text_take(text, "dim(")) {
        md__text_name(text, string);
        md__text_expect(text, ",");
        attr->type = MD_ATTR_INT;
        attr->i = md__rw_dim(building->rewrite, value_named(building, string), read_axis(building));
        building->refused |= attr->i < 0;
    } else if (md__text_take(text, "'")) {
        attr->type = MD_ATTR_STRING;
        md__text_name(text, string);
        attr->s = string;
        md__text_expect(text, "'");
    } else if (md__text_take(text, "#")) {
        md__text_name(text, string);
        attr->f = building->match->numbers[slot_named(building, string)];
    } else if (md__text_number(text, &attr->f) && attr->f == floor(attr->f)) {
        attr->type = MD_ATTR_INT;
        attr->i = (int64_t)attr->f;
    }
}

/* Those of the lender that the result does not give itself. */
static void lend_attrs(struct building *building)
{
    const struct md_node *lender = &building->rewrite->graph->nodes[building->match->lender];
    int own = building->attr_count;
    for (int i = 0; i < lender->attr_count && building->attr_count < ATTRS_MAX; i++) {
        bool given = false;
        for (int k = 0; k < own; k++)
            given |= strcmp(building->attrs[k].name, lender->attrs[i].name) == 0;
        if (!given)
            building->attrs[building->attr_count++] = lender->attrs[i];
    }
}

enum md_status md__graph_pattern_build(struct md__rewrite *rewrite,
                                       const struct md__pattern *pattern,
                                       const struct md__match *match, const char *result,
                                       int *value, struct md_error *err)
{
    struct building building = {
        .rewrite = rewrite, .pattern = pattern, .match = match, .text = {.at = result}};
    struct md__text *text = &building.text;
    char op[MD_TEXT_NAME], name[MD_TEXT_NAME];
    enum md_status status = MD_OK;
    *value = MD_NONE;
    md__text_name(text, op);
    md__text_expect(text, "(");
    do {
        md__text_name(text, name);
        if (building.in_count == INPUTS_MAX || building.attr_count == ATTRS_MAX)
            text->bad = true;
        else if (md__text_take(text, "="))
            read_attr(&building, name);
        else
            status = read_input(&building, name, &building.in[building.in_count++], err);
    } while (!status && !text->bad && !building.refused && md__text_take(text, ","));
    if (status || building.refused)
        return status;
    md__text_expect(text, ")");
    if (text->bad)
        return md_fail(err, MD_ERR_INTERNAL, "no result: \"%.100s\"", result);
    if (match->lender != MD_NONE)
        lend_attrs(&building);
    return md__rw_node(rewrite, op, building.in, building.in_count, building.attrs,
                       building.attr_count, value, 1, err);
}
