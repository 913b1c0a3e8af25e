/*
 * The weights of a recurrence as packed products, one for each side of each direction (steps.h).
 */
#include "kernels/cpu/isa/sequence.h"
#include "kernels/cpu/isa/steps.h"

bool md__steps_constant(const struct md_tensor *in, int in_count)
{
    return in[1].data && in[2].data && (!md__has(in, in_count, 3) || in[3].data);
}

bool md__steps_usual(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    static const char *const lstm[] = {"Sigmoid", "Tanh", "Tanh"};
    int each = md__rnn_activations(node);
    return md__recurrent_is_plain(node, each == 1 ? lstm + 1 : lstm, each) &&
           !md__has(in, in_count, 7);
}

/* What a gate's activation wants its sum multiplied by: the last gate has a tanh. */
static double gate_scale(const struct packed_steps *p, size_t gate)
{
    return !p->usual ? 1 : gate + 1 == p->gates || p->gates == 1 ? TANH_SCALE : GATE_SCALE;
}

struct packed_steps md__steps_shape(const struct md_node *node, const struct md_tensor *in,
                                    int in_count)
{
    struct packed_steps p = {.usual = md__steps_usual(node, in, in_count),
                             .original = node->op == MD_OP_GRU &&
                                         !md_node_int(node, "linear_before_reset", 0),
                             .inputs = (size_t)in[1].shape.dim[2],
                             .units = (size_t)in[2].shape.dim[2],
                             .directions = (size_t)in[1].shape.dim[0],
                             .gates = md__rnn_gates(node)};
    p.all_bytes = sizeof p + p.directions * direction_floats(&p) * sizeof(float);
    return p;
}

/* One side of one direction; gates [gate, ..) of `weights` and their half of the bias. */
static void pack_side(const struct packed_steps *p, size_t d, enum side side, size_t gate,
                      const float *weights, const float *bias)
{
    struct packed packed = packed_side(p, d, side);
    size_t gates = side_gates(p, side), units = p->units;
    for (size_t v = 0; v < vectors_of(units); v++)
        for (size_t g = 0; g < gates; g++) {
            size_t first = (gate + g) * units;
            struct unpacked from = {.weights = weights + first * packed.inputs,
                                    .bias = bias ? bias + first : NULL,
                                    .k_stride = 1,
                                    .column_stride = packed.inputs,
                                    .scale = 1};
            size_t left = units - v * VL;
            md__pack_vector(&packed, v * gates + g, &from, v * VL, left < VL ? left : VL,
                            gate_scale(p, gate + g));
        }
}

void md__steps_pack(struct packed_steps *p, const struct md_tensor *in, int in_count)
{
    size_t rows = p->gates * p->units;
    for (size_t d = 0; d < p->directions; d++) {
        const float *w = (const float *)in[1].data + d * rows * p->inputs;
        const float *r = (const float *)in[2].data + d * rows * p->units;
        const float *b = md__has(in, in_count, 3) ? (const float *)in[3].data + d * 2 * rows : NULL;
        pack_side(p, d, OF_X, 0, w, b);
        pack_side(p, d, OF_H, 0, r, b ? b + rows : NULL);
        if (p->original)
            pack_side(p, d, OF_RESET, 2, r, b ? b + rows : NULL);
    }
}

enum md_status md__steps_prepare(const struct md_node *node, const struct md_tensor *in,
                                 int in_count, void **prepared, size_t *bytes, struct md_error *err)
{
    if (!md__steps_constant(in, in_count))
        return MD_OK;
    struct packed_steps p = md__steps_shape(node, in, in_count);
    struct packed_steps *made = md_prepared_new(p.all_bytes);
    if (made == NULL)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    *made = p;
    md__steps_pack(made, in, in_count);
    *prepared = made;
    *bytes = p.all_bytes;
    return MD_OK;
}
