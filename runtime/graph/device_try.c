/*
 * Precision `auto`: 16 bits where they do. The first run in a storage is done on the CPU, too, and
 * outputs are compared by norm; a model that is off by more than MD_DEVICE_ERROR_MAX (logarithms of
 * what underflows, chaotic sums) is stored wider from then on, and so is one whose numbers outgrow
 * float16, whenever that happens. Plans and weights are then made anew. A storage that somebody
 * asked for by name is kept.
 *
 * Integers are not compared: an index of a largest may turn over among equals.
 */
#include <math.h>

#include "base/log.h"
#include "graph/device_internal.h"

bool md__device_tries(const struct md_executable *executable)
{
    const struct md_graph *graph = executable->graph;
    if (!executable->device || !executable->device->tries)
        return false;
    for (int n = 0; n < graph->node_count; n++)
        if (md_op_is_random(graph->nodes[n].op))
            return false;
    return true;
}

static double float_at(const struct md_tensor *tensor, size_t i)
{
    const uint16_t *narrow = tensor->data;
    return tensor->dtype == MD_F32   ? (double)((const float *)tensor->data)[i]
           : tensor->dtype == MD_F16 ? (double)md_f16_to_f32(narrow[i])
                                     : (double)md_bf16_to_f32(narrow[i]);
}

/* |have - right| / |right|; 0 for what has no floats, and where the CPU's are not finite either. */
static double error_of(const struct md_tensor *right, const struct md_tensor *have)
{
    double norm = 0, difference = 0;
    if (right->dtype != MD_F32 && right->dtype != MD_F16 && right->dtype != MD_BF16)
        return 0;
    if (right->dtype != have->dtype || !md_shape_equal(&right->shape, &have->shape))
        return INFINITY;
    for (size_t i = 0; i < md_tensor_count(right); i++) {
        double x = float_at(right, i), y = float_at(have, i);
        if (!isfinite(x))
            continue;
        norm += x * x;
        difference += (x - y) * (x - y);
    }
    return difference == 0 ? 0 : sqrt(difference / norm);
}

static double error_max(const struct md_graph *graph)
{
    for (int n = 0; n < graph->node_count; n++)
        if (graph->nodes[n].op == MD_OP_QUANTIZE_LINEAR ||
            graph->nodes[n].op == MD_OP_DYNAMIC_QUANTIZE_LINEAR)
            return MD_DEVICE_ERROR_QUANTIZED_MAX;
    return MD_DEVICE_ERROR_MAX;
}

bool md__device_agrees(struct md_executable *executable, const struct md_tensor *right,
                       const struct md_tensor *outputs)
{
    struct md__device *device = executable->device;
    double worst = 0;
    for (int i = 0; i < executable->graph->output_count; i++)
        worst = fmax(worst, error_of(&right[i], &outputs[i]));
    bool near = device->storage == MD_F32 || worst <= error_max(executable->graph);
    if (near)
        device->tries = false;
    else
        md_log(MD_LOG_INFO, "device", "%s is off by %.2g in %s", executable->graph->name, worst,
               md__device_precision(device));
    return near;
}

bool md__device_widen(struct md_executable *executable)
{
    struct md__device *device = executable->device;
    if (device->failed && !device->outgrown)
        device->tries = false; /* no run in two places for each that fails here */
    bool is_auto = executable->options.precision == MD_PRECISION_AUTO;
    bool off = device->tries && !device->failed;
    if (!is_auto || device->storage == MD_F32 || !(device->outgrown || off))
        return false;
    enum md_dtype wider =
        device->storage == MD_F16 && device->outgrown ? md__device_wide(device) : MD_F32;
    md__plans_delete(executable);
    md__device_restore(device, wider);
    device->tries = true;
    md_log(MD_LOG_INFO, "device", "%s is stored in %s from now on", executable->graph->name,
           md__device_precision(device));
    return true;
}
