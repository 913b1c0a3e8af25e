/*
 * Nodes of LSTM, GRU and RNN: x by its weights for all steps, the recurrent weights turned, then
 * recurrent.cu.
 */
#include <string.h>

#include "kernels/cpu/recurrent.h"
#include "kernels/cuda/ops.h"

#define UNITS_MAX 1024 /* three states of four rows are 48 KB */

static bool recurrent_supports(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    static const char *const usual[] = {"Sigmoid", "Tanh", "Tanh"};
    int count = md__rnn_activations(node);
    int64_t units = in[1].shape.dim[1] / (int64_t)md__rnn_gates(node);
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype && (i == 4 ? in[i].dtype != MD_I32 : in[i].storage != in[0].storage))
            return false;
    return units <= UNITS_MAX && !md__given(in, in_count, 7) &&
           md__one_float(in, 1, out, out_count) &&
           md__recurrent_is_plain(node, count == 1 ? usual + 1 : usual, count);
}

static struct md__cuda_recurrent recurrent_of(const struct md_node *node,
                                              const struct md_device_value *in)
{
    const struct md_shape *x = &in[0].shape, *w = &in[1].shape;
    int64_t gates = (int64_t)md__rnn_gates(node);
    bool batch_first = md_node_int(node, "layout", 0) != 0;
    return (struct md__cuda_recurrent){
        .storage = (int)in[0].storage,
        .batch_first = batch_first,
        .reverse = strcmp(md_node_string(node, "direction", "forward"), "reverse") == 0,
        .reset_after = md_node_int(node, "linear_before_reset", 0) != 0,
        .steps = x->dim[batch_first],
        .batch = x->dim[!batch_first],
        .units = w->dim[1] / gates,
        .gates = gates,
        .directions = w->dim[0]};
}

static size_t projected_bytes(const struct md__cuda_recurrent *rec)
{
    size_t bytes = (size_t)(rec->directions * rec->steps * rec->batch * rec->gates * rec->units) *
                   md_dtype_bytes((enum md_dtype)rec->storage);
    return (bytes + 255) / 256 * 256;
}

static size_t recurrent_scratch(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count, (void)out, (void)out_count;
    struct md__cuda_recurrent rec = recurrent_of(node, in);
    return projected_bytes(&rec) + (size_t)(rec.directions * rec.units * rec.gates * rec.units) *
                                       md_dtype_bytes(in[0].storage);
}

static enum md_status project(const struct md_device_call *call,
                              const struct md__cuda_recurrent *rec, struct md_error *err)
{
    int64_t inputs = call->in[0].shape.dim[2], rows = rec->gates * rec->units;
    struct md__cuda_product product = {.storage = rec->storage,
                                       .rows = rec->steps * rec->batch,
                                       .inner = inputs,
                                       .columns = rows,
                                       .a_row = inputs,
                                       .a_column = 1,
                                       .b_row = 1,
                                       .b_column = inputs,
                                       .batch = {.rank = 1,
                                                 .count = rec->directions,
                                                 .dim = {rec->directions},
                                                 .stride = {{0}, {rows * inputs}}},
                                       .a = call->in[0].data,
                                       .b = call->in[1].data,
                                       .y = call->scratch,
                                       .alpha = 1};
    return md__product_enqueue(call, &product, err);
}

static enum md_status turn(const struct md_device_call *call, const struct md__cuda_recurrent *rec,
                           void *turned, struct md_error *err)
{
    int64_t rows = rec->gates * rec->units, units = rec->units;
    struct md__cuda_map map = {.rank = 3,
                               .dim = {rec->directions, units, rows},
                               .stride = {{rows * units, 1, units}, {rows * units, rows, 1}}};
    map.count = rec->directions * units * rows;
    return md__launched(md__cuda_move(md__cuda_stream_of(call->stream),
                                      (int)md_dtype_bytes(call->in[2].storage), &map,
                                      call->in[2].data, turned),
                        err);
}

static void *result(const struct md_device_call *call, int i)
{
    return i < call->out_count && call->out[i].dtype ? call->out[i].data : NULL;
}

static enum md_status recurrent_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_recurrent rec = recurrent_of(call->node, call->in);
    void *turned = (char *)call->scratch + projected_bytes(&rec);
    enum md_status status = project(call, &rec, err);
    if (!status)
        status = turn(call, &rec, turned, err);
    if (status)
        return status;
    rec.projected = call->scratch;
    rec.turned = turned;
    rec.bias = md__data(call, 3);
    rec.lengths = md__data(call, 4);
    rec.h0 = md__data(call, 5);
    rec.c0 = rec.gates == 4 ? md__data(call, 6) : NULL;
    rec.y = result(call, 0);
    rec.y_h = result(call, 1);
    rec.y_c = rec.gates == 4 ? result(call, 2) : NULL;
    return md__launched(md__cuda_recurrent(md__cuda_stream_of(call->stream), &rec), err);
}

const struct md_device_kernel md__cuda_op_recurrent = {.supports = recurrent_supports,
                                                       .scratch_bytes = recurrent_scratch,
                                                       .enqueue = recurrent_enqueue};
