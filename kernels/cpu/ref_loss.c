/*
 * Reference losses: NegativeLogLikelihoodLoss on logarithms of probabilities, and
 * SoftmaxCrossEntropyLoss, which makes those from scores first. Means and sums run in double.
 *
 * A label outside the classes is an error of the data unless it is ignore_index. A mean divides by
 * the weights of the labels that count, so that it is NaN when none does, as in PyTorch.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

struct loss {
    const struct md_kernel_call *call;
    size_t classes, inner; /* inner: positions d1 * d2 * .., which lie behind the classes */
    bool scores;           /* not yet logarithms of probabilities */
    const struct md_attr *ignored;
};

/* The logarithm of the sum of e^score over the classes at one position. */
static double log_sum(const struct loss *loss, size_t at)
{
    const struct md_tensor *in = &loss->call->in[0];
    double max = -INFINITY, sum = 0;
    for (size_t c = 0; c < loss->classes; c++)
        max = fmax(max, md__get_float(in, at + c * loss->inner));
    for (size_t c = 0; c < loss->classes; c++)
        sum += exp(md__get_float(in, at + c * loss->inner) - max);
    return max + log(sum);
}

static void write_log_probabilities(const struct loss *loss, size_t at, double shift)
{
    const struct md_kernel_call *call = loss->call;
    for (size_t c = 0; c < loss->classes; c++) {
        size_t i = at + c * loss->inner;
        md__set_float(&call->out[1], i, md__get_float(&call->in[0], i) - shift);
    }
}

/* The loss of one position and the weight of its label. */
static enum md_status position(const struct loss *loss, size_t i, double *value, double *weight,
                               struct md_error *err)
{
    const struct md_kernel_call *call = loss->call;
    size_t at = i / loss->inner * loss->classes * loss->inner + i % loss->inner;
    int64_t label = md__get_int(&call->in[1], i);
    double shift = loss->scores ? log_sum(loss, at) : 0;
    if (call->out_count > 1)
        write_log_probabilities(loss, at, shift);
    *value = *weight = 0;
    if (loss->ignored && label == loss->ignored->i)
        return MD_OK;
    if (label < 0 || (size_t)label >= loss->classes)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "label %lld is outside the %zu classes",
                       (long long)label, loss->classes);
    bool weighted = md__has(call->in, call->in_count, 2);
    *weight = weighted ? md__get_float(&call->in[2], (size_t)label) : 1;
    *value = *weight * (shift - md__get_float(&call->in[0], at + (size_t)label * loss->inner));
    return MD_OK;
}

static enum md_status loss_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    const char *reduction = md_node_string(call->node, "reduction", "mean");
    struct loss loss = {.call = call,
                        .classes = (size_t)shape->dim[1],
                        .inner = md__span(shape, 2, shape->rank),
                        .scores = call->node->op == MD_OP_SOFTMAX_CROSS_ENTROPY_LOSS,
                        .ignored = md_node_attr(call->node, "ignore_index")};
    size_t count = md__count(&call->in[1]);
    double total = 0, weights = 0;
    for (size_t i = 0; i < count; i++) {
        double value, weight;
        enum md_status status = position(&loss, i, &value, &weight, err);
        if (status)
            return status;
        if (strcmp(reduction, "none") == 0)
            md__set_float(&call->out[0], i, value);
        total += value;
        weights += weight;
    }
    if (strcmp(reduction, "mean") == 0)
        md__set_float(&call->out[0], 0, total / weights);
    else if (strcmp(reduction, "sum") == 0)
        md__set_float(&call->out[0], 0, total);
    return MD_OK;
}

const struct md_kernel md__ref_loss = {.supports = md__float_first, .run = loss_run};
