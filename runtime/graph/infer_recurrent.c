/* Shape rules of recurrences: RNN, GRU, LSTM. */
#include <string.h>
#include <strings.h>

#include "graph/infer.h"

static const char *const known_activations[] = {
    "Relu",       "Tanh",        "Sigmoid", "Affine",   "LeakyRelu", "ThresholdedRelu",
    "ScaledTanh", "HardSigmoid", "Elu",     "Softsign", "Softplus",  NULL};

/* Activations that nobody knows are refused here, by name. */
static enum md_status check_activations(const struct md_node *node, int per_direction,
                                        int64_t directions, struct md_error *err)
{
    const struct md_attr *attr = md_node_attr(node, "activations");
    if (attr && (attr->type != MD_ATTR_STRINGS || attr->count != per_direction * directions))
        return md_fail(err, MD_ERR_INVALID, "attribute activations does not list %d names",
                       per_direction * (int)directions);
    for (int i = 0; attr && i < attr->count; i++) {
        int k = 0;
        while (known_activations[k] && strcasecmp(attr->strings[i], known_activations[k]) != 0)
            k++;
        if (!known_activations[k])
            return md_fail(err, MD_ERR_UNSUPPORTED, "activation \"%.40s\" is unknown",
                           attr->strings[i]);
    }
    return md_node_float(node, "clip", 1) > 0 ? MD_OK
                                              : md_fail(err, MD_ERR_INVALID, "attribute clip is %g",
                                                        md_node_float(node, "clip", 1));
}

/* What RNN, GRU and LSTM have in common; `gates` is 1, 3 or 4. States are inputs 5 and, with a
 * cell, 6. */
static enum md_status infer_recurrent(const struct md_node *node, const struct md_value_info *in,
                                      int in_count, struct md_value_info *out, int out_count,
                                      int gates, struct md_error *err)
{
    const char *direction = md_node_string(node, "direction", "forward");
    int64_t directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    bool batch_first = md_node_int(node, "layout", 0) != 0;
    const int64_t any[3] = {-1, -1, -1};
    if (directions == 1 && strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0)
        return md_fail(err, MD_ERR_UNSUPPORTED, "unknown direction \"%.40s\"", direction);
    enum md_status status = check_activations(node, gates == 1 ? 1 : gates - 1, directions, err);
    if (!status)
        status = md__infer_expect(in, 0, "X", 3, any, err);
    if (!status)
        status = md__infer_expect(in, 2, "R", 3, any, err);
    if (status)
        return status;
    int64_t steps = in[0].shape.dim[batch_first], batch = in[0].shape.dim[!batch_first];
    int64_t features = in[0].shape.dim[2], hidden = in[2].shape.dim[2];
    if (md_node_int(node, "hidden_size", hidden) != hidden || hidden < 1 || hidden > 1 << 24)
        return md_fail(err, MD_ERR_INVALID, "hidden_size differs from R of shape %s",
                       MD_SHAPE(in[2]));
    const int64_t w[3] = {directions, gates * hidden, features};
    const int64_t r[3] = {directions, gates * hidden, hidden};
    const int64_t bias[2] = {directions, 2 * gates * hidden}, lengths[1] = {batch};
    const int64_t state[3] = {batch_first ? batch : directions, batch_first ? directions : batch,
                              hidden};
    const int64_t peepholes[2] = {directions, 3 * hidden};
    const struct {
        const char *name;
        int rank;
        const int64_t *dim;
    } wanted[8] = {{"X", 3, any},
                   {"W", 3, w},
                   {"R", 3, r},
                   {"B", 2, bias},
                   {"sequence_lens", 1, lengths},
                   {"initial_h", 3, state},
                   {"initial_c", 3, state},
                   {"P", 2, peepholes}};
    for (int i = 1; i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_dtype(in, i, i == 4 ? MD_I32 : in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, wanted[i].name, wanted[i].rank, wanted[i].dim, err);
        if (status)
            return status;
    }
    const int64_t sequence[4] = {batch_first ? batch : steps, batch_first ? steps : directions,
                                 batch_first ? directions : batch, hidden};
    for (int i = 0; i < out_count; i++) {
        out[i].dtype = in[0].dtype;
        out[i].shape = i == 0 ? md_shape_of(4, sequence) : md_shape_of(3, state);
    }
    return MD_OK;
}

MD_INFER_RULE(md_infer_lstm)
{
    return infer_recurrent(node, in, in_count, out, out_count, 4, err);
}

MD_INFER_RULE(md_infer_gru)
{
    return infer_recurrent(node, in, in_count, out, out_count, 3, err);
}

MD_INFER_RULE(md_infer_rnn)
{
    return infer_recurrent(node, in, in_count, out, out_count, 1, err);
}
