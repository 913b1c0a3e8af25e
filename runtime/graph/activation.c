/* Reading and writing out the activations of fused operators: a table of names. */
#include "graph/activation.h"

#include <string.h>

#define NUMBERS_MAX 2

static const struct known {
    const char *name;
    enum md_op op;
    const char *attrs[NUMBERS_MAX]; /* of the operator; NULL where it takes the number otherwise */
    double numbers[NUMBERS_MAX];    /* their defaults */
    int count, wanted;              /* numbers it takes, and must be given */
} known[] = {
    {"", MD_OP_IDENTITY, {0}, {0}, 0, 0},
    {"Relu", MD_OP_RELU, {0}, {0}, 0, 0},
    {"Sigmoid", MD_OP_SIGMOID, {0}, {0}, 0, 0},
    {"Tanh", MD_OP_TANH, {0}, {0}, 0, 0},
    {"HardSwish", MD_OP_HARD_SWISH, {0}, {0}, 0, 0},
    {"Mish", MD_OP_MISH, {0}, {0}, 0, 0},
    {"LeakyRelu", MD_OP_LEAKY_RELU, {"alpha"}, {0.01}, 1, 0},
    {"Elu", MD_OP_ELU, {"alpha"}, {1}, 1, 0},
    {"Swish", MD_OP_SWISH, {"alpha"}, {1}, 1, 0},
    {"HardSigmoid", MD_OP_HARD_SIGMOID, {"alpha", "beta"}, {0.2, 0.5}, 2, 0},
    {"Clip", MD_OP_CLIP, {0}, {0}, 2, 2},
    {"Gelu", MD_OP_GELU, {0}, {0}, 1, 0},
};

enum md_status md_activation_read(const struct md_node *node, struct md_activation *activation,
                                  struct md_error *err)
{
    const char *name = md_node_string(node, "activation", "");
    const struct known *row = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known && !row; i++)
        row = strcmp(known[i].name, name) == 0 ? &known[i] : NULL;
    if (row == NULL)
        return md_fail(err, MD_ERR_UNSUPPORTED, "activation %s is not known", name);
    const struct md_attr *given = md_node_attr(node, "activation_params");
    int count = given && given->type == MD_ATTR_FLOATS ? given->count : 0;
    if (count < row->wanted)
        return md_fail(err, MD_ERR_INVALID, "attribute activation_params does not list %d numbers",
                       row->wanted);
    double numbers[NUMBERS_MAX];
    for (int i = 0; i < NUMBERS_MAX; i++)
        numbers[i] = i < count && i < row->count ? given->floats[i] : row->numbers[i];
    double scale = md_node_float(node, "output_scale", 1);
    double shift = md_node_float(node, "output_shift", 0);
    *activation = (struct md_activation){row->op, numbers[0], numbers[1], scale != 1 || shift != 0,
                                         scale,   shift};
    return MD_OK;
}

struct md_activation md_activation_of(const struct md_node *node)
{
    struct md_activation activation = {.op = MD_OP_IDENTITY};
    struct md_error ignored;
    (void)md_activation_read(node, &activation, &ignored);
    return activation;
}

int md__emit_operator(struct md_emit *emit, const struct md_activation *activation, int x)
{
    const struct known *row = known, *end = known + sizeof known / sizeof *known;
    if (activation->op == MD_OP_IDENTITY)
        return x;
    while (row < end && row->op != activation->op)
        row++;
    if (row == end)
        return md__emit_node(emit, md_op_info(activation->op)->name, &x, 1, NULL, 0);
    if (row->op == MD_OP_CLIP)
        return md__emit_node(
            emit, row->name,
            MD__IDS(x, md__emit_float(emit, activation->a), md__emit_float(emit, activation->b)),
            NULL, 0);
    if (row->op == MD_OP_GELU) {
        const struct md_attr form = {.name = "approximate",
                                     .type = MD_ATTR_STRING,
                                     .s = activation->a != 0 ? "tanh" : "none"};
        return md__emit_node(emit, row->name, &x, 1, &form, 1);
    }
    const struct md_attr numbers[] = {MD__FLOAT(row->attrs[0], activation->a),
                                      MD__FLOAT(row->attrs[1], activation->b)};
    return md__emit_node(emit, row->name, &x, 1, numbers, row->count);
}

int md__emit_activation(struct md_emit *emit, const struct md_node *node, int x)
{
    struct md_activation activation;
    if (!emit->status)
        emit->status = md_activation_read(node, &activation, emit->err);
    if (emit->status)
        return x;
    x = md__emit_operator(emit, &activation, x);
    if (activation.shifts)
        x = md__emit_node(emit, "Mul", MD__IDS(x, md__emit_float(emit, activation.scale)), NULL, 0);
    if (activation.shifts)
        x = md__emit_node(emit, "Add", MD__IDS(x, md__emit_float(emit, activation.shift)), NULL, 0);
    return x;
}
