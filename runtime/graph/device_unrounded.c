/*
 * What is stored in float32 whatever the model's precision: results of the last products and what
 * elementwise operators make of them on the way to an output. A forecast in units of its own is a
 * small change of a large number, which 16 bits round away, and it is read in float32 anyway; the
 * products themselves still read 16 bits.
 *
 * Values that elementwise operators lead to each other are a *stretch*. One is unrounded that
 * begins at products, constants and inputs and that nothing else writes or reads; whatever leads to
 * another product stays narrow, and so does what a session hands on, as its input and its output
 * are stored alike.
 */
#include <stdlib.h>

#include "graph/device_internal.h"

static bool is_product(enum md_op op)
{
    return op == MD_OP_LINEAR || op == MD_OP_GEMM || op == MD_OP_MATMUL;
}

/* Small against any product, and its device kernels take float32 like the others. */
static bool is_light(enum md_op op)
{
    switch (op) {
    case MD_OP_ADD:
    case MD_OP_SUB:
    case MD_OP_MUL:
    case MD_OP_DIV:
    case MD_OP_MIN:
    case MD_OP_MAX:
    case MD_OP_NEG:
    case MD_OP_ABS:
    case MD_OP_EXP:
    case MD_OP_LOG:
    case MD_OP_SQRT:
    case MD_OP_RELU:
    case MD_OP_CLIP:
    case MD_OP_TANH:
    case MD_OP_SIGMOID:
    case MD_OP_SOFTPLUS:
    case MD_OP_SOFTMAX:
    case MD_OP_LOG_SOFTMAX:
    case MD_OP_WHERE:
    case MD_OP_SLICE:
    case MD_OP_CONCAT:
    case MD_OP_SPLIT:
    case MD_OP_EXPAND:
    case MD_OP_TRANSPOSE:
    case MD_OP_IDENTITY:
    case MD_OP_RESHAPE:
    case MD_OP_SQUEEZE:
    case MD_OP_UNSQUEEZE:
    case MD_OP_FLATTEN:
        return true;
    default:
        return false;
    }
}

struct stretch {
    int next;     /* a value of the same stretch, itself: this one stands for all */
    bool narrow;  /* something else writes or reads a value of it */
    bool product; /* a product writes one */
};

static int stretch_of(struct stretch *stretches, int value)
{
    while (stretches[value].next != value) {
        stretches[value].next = stretches[stretches[value].next].next;
        value = stretches[value].next;
    }
    return value;
}

static void join(struct stretch *stretches, int a, int b)
{
    a = stretch_of(stretches, a);
    b = stretch_of(stretches, b);
    stretches[b].next = a;
    stretches[a].narrow |= stretches[b].narrow;
    stretches[a].product |= stretches[b].product;
}

static void add_node(struct stretch *stretches, const struct md_node *node)
{
    bool light = is_light(node->op), product = is_product(node->op);
    int before = MD_NONE;
    for (int i = 0; i < node->in_count + node->out_count; i++) {
        bool written = i >= node->in_count;
        int value = written ? node->out[i - node->in_count] : node->in[i];
        if (value == MD_NONE)
            continue;
        struct stretch *stretch = &stretches[stretch_of(stretches, value)];
        stretch->product |= written && product;
        stretch->narrow |= !light && !(written && product);
        if (light && before != MD_NONE)
            join(stretches, before, value);
        before = value;
    }
}

enum md_status md__device_find_unrounded(struct md__device *device,
                                         const struct md_executable_options *options,
                                         struct md_error *err)
{
    const struct md_graph *graph = device->graph;
    struct stretch *stretches = malloc(((size_t)graph->value_count + 1) * sizeof *stretches);
    if (!stretches)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int v = 0; v < graph->value_count; v++)
        stretches[v] = (struct stretch){.next = v};
    for (int n = 0; n < graph->node_count; n++)
        add_node(stretches, &graph->nodes[n]);
    for (int k = 0; k < options->handover_count; k++) {
        const struct md_handover *handover = &options->handovers[k];
        stretches[stretch_of(stretches, graph->inputs[handover->input].value)].narrow = true;
        stretches[stretch_of(stretches, graph->outputs[handover->output].value)].narrow = true;
    }
    for (int v = 0; v < graph->value_count; v++) {
        const struct stretch *stretch = &stretches[stretch_of(stretches, v)];
        device->unrounded[v] = stretch->product && !stretch->narrow;
    }
    free(stretches);
    return MD_OK;
}
