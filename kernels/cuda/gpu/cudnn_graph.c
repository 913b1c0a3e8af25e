/*
 * A convolution as cuDNN's graph, in its backend's plain C
 * (https://docs.nvidia.com/deeplearning/cudnn/backend/latest/developer/graph-api.html): convolve,
 * add the bias, add the residual, Relu; what lies between them is virtual and float32.
 */
#include "kernels/cuda/gpu/libraries.h"

#if MD__WITH_CUDNN

#include <string.h>

#include "kernels/cuda/gpu/cudnn.h"

#define ALIGN 16 /* bytes that all tensors lie at a multiple of */

/* Of writing a graph: the first failure sticks. */
struct writer {
    const struct md__cudnn_calls *calls;
    struct md__cudnn_graph *graph;
    cudnnStatus_t status;
    int64_t next_id; /* of virtual tensors */
};

static cudnnBackendDescriptor_t make(struct writer *w, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t made = NULL;
    if (!w->status && w->graph->part_count == MD__CUDNN_PARTS)
        w->status = CUDNN_STATUS_INTERNAL_ERROR;
    if (!w->status)
        w->status = w->calls->cudnnBackendCreateDescriptor(type, &made);
    if (!w->status)
        w->graph->parts[w->graph->part_count++] = made;
    return made;
}

static void set(struct writer *w, cudnnBackendDescriptor_t of, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (!w->status)
        w->status = w->calls->cudnnBackendSetAttribute(of, name, type, count, values);
}

static void set_part(struct writer *w, cudnnBackendDescriptor_t of,
                     cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t part)
{
    set(w, of, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

static void finish(struct writer *w, cudnnBackendDescriptor_t of)
{
    if (!w->status)
        w->status = w->calls->cudnnBackendFinalize(of);
}

/* dim is N C H W (of weights K C R S), whose elements lie with C innermost. */
static cudnnBackendDescriptor_t tensor(struct writer *w, int64_t id, cudnnDataType_t type,
                                       const int64_t *dim, bool is_virtual)
{
    int64_t align = ALIGN, stride[4] = {dim[1] * dim[2] * dim[3], 1, dim[1] * dim[3], dim[1]};
    cudnnBackendDescriptor_t made = make(w, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(w, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(w, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    set(w, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(w, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(w, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    set(w, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    finish(w, made);
    return made;
}

/* What the next operation reads: the graph's y when it was the last one. */
static cudnnBackendDescriptor_t result(struct writer *w, cudnnDataType_t type, const int64_t *dim,
                                       bool last)
{
    return last ? tensor(w, MD__CUDNN_Y, type, dim, false)
                : tensor(w, w->next_id++, CUDNN_DATA_FLOAT, dim, true);
}

static cudnnBackendDescriptor_t convolution(struct writer *w, const struct md__cuda_window *window,
                                            cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t f,
                                            cudnnBackendDescriptor_t y)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t axes = 2;
    float one = 1, zero = 0;
    cudnnBackendDescriptor_t how = make(w, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(w, how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(w, how, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(w, how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
    set(w, how, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, window->dilation + 1);
    set(w, how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, window->stride + 1);
    set(w, how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, window->before + 1);
    set(w, how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, window->after + 1);
    finish(w, how);
    cudnnBackendDescriptor_t made = make(w, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    set_part(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
    set_part(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    set_part(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, f);
    set_part(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    set(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(w, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    finish(w, made);
    return made;
}

/* b NULL: of x alone. */
static cudnnBackendDescriptor_t pointwise(struct writer *w, cudnnPointwiseMode_t mode,
                                          cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b,
                                          cudnnBackendDescriptor_t y)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t how = make(w, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(w, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(w, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
    finish(w, how);
    cudnnBackendDescriptor_t made = make(w, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_part(w, made, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_part(w, made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        set_part(w, made, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(w, made, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    finish(w, made);
    return made;
}

/* The operations in order; how many. */
static int operations(struct writer *w, const struct md__cuda_convolution *p,
                      cudnnBackendDescriptor_t *ops)
{
    const struct md__cuda_window *window = &p->window;
    cudnnDataType_t type = p->storage == MD__CUDA_F16    ? CUDNN_DATA_HALF
                           : p->storage == MD__CUDA_BF16 ? CUDNN_DATA_BFLOAT16
                                                         : CUDNN_DATA_FLOAT;
    const int64_t x_dim[4] = {p->batch, p->channels, window->in[1], window->in[2]};
    const int64_t y_dim[4] = {p->batch, p->outputs, window->out[1], window->out[2]};
    const int64_t w_dim[4] = {p->outputs, p->channels / p->groups, window->kernel[1],
                              window->kernel[2]};
    const int64_t bias_dim[4] = {1, p->outputs, 1, 1};
    bool relu = p->function == MD__CUDA_RELU;
    int left = (p->bias != NULL) + (p->z != NULL) + relu, count = 0;
    cudnnBackendDescriptor_t x = tensor(w, MD__CUDNN_X, type, x_dim, false);
    cudnnBackendDescriptor_t f = tensor(w, MD__CUDNN_W, type, w_dim, false);
    cudnnBackendDescriptor_t y = result(w, type, y_dim, left == 0), next;
    ops[count++] = convolution(w, window, x, f, y);
    if (p->bias) {
        next = result(w, type, y_dim, --left == 0);
        ops[count++] = pointwise(w, CUDNN_POINTWISE_ADD, y,
                                 tensor(w, MD__CUDNN_BIAS, type, bias_dim, false), next);
        y = next;
    }
    if (p->z) {
        next = result(w, type, y_dim, --left == 0);
        ops[count++] =
            pointwise(w, CUDNN_POINTWISE_ADD, y, tensor(w, MD__CUDNN_Z, type, y_dim, false), next);
        y = next;
    }
    if (relu)
        ops[count++] =
            pointwise(w, CUDNN_POINTWISE_RELU_FWD, y, NULL, result(w, type, y_dim, true));
    return count;
}

static void ask_heuristic(struct writer *w, cudnnBackendDescriptor_t graph)
{
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    int64_t found = 0;
    cudnnBackendDescriptor_t heuristic = make(w, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_part(w, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(w, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finish(w, heuristic);
    for (int i = 0; i < MD__CUDNN_CONFIGS; i++)
        w->graph->configs[i] = make(w, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (!w->status)
        w->status = w->calls->cudnnBackendGetAttribute(
            heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
            MD__CUDNN_CONFIGS, &found, w->graph->configs);
    w->graph->config_count = w->status                   ? 0
                             : found < MD__CUDNN_CONFIGS ? (int)found
                                                         : MD__CUDNN_CONFIGS;
}

cudnnStatus_t md__cudnn_graph_init(const struct md__cudnn_calls *calls,
                                   const struct md__cuda_convolution *p,
                                   struct md__cudnn_graph *graph)
{
    struct writer w = {calls, graph, CUDNN_STATUS_SUCCESS, MD__CUDNN_PORTS};
    cudnnBackendDescriptor_t ops[4];
    memset(graph, 0, sizeof *graph);
    graph->has[MD__CUDNN_X] = graph->has[MD__CUDNN_W] = graph->has[MD__CUDNN_Y] = true;
    graph->has[MD__CUDNN_BIAS] = p->bias != NULL;
    graph->has[MD__CUDNN_Z] = p->z != NULL;
    int count = operations(&w, p, ops);
    cudnnBackendDescriptor_t whole = make(&w, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(&w, whole, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &calls->handle);
    set(&w, whole, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, ops);
    finish(&w, whole);
    ask_heuristic(&w, whole);
    return w.status;
}

void md__cudnn_graph_fini(const struct md__cudnn_calls *calls, struct md__cudnn_graph *graph)
{
    while (graph->part_count > 0)
        calls->cudnnBackendDestroyDescriptor(graph->parts[--graph->part_count]);
}

cudnnStatus_t md__cudnn_plan(const struct md__cudnn_calls *calls,
                             const struct md__cudnn_graph *graph, int config,
                             cudnnBackendDescriptor_t *plan, int64_t *workspace_bytes)
{
    int64_t count = 0;
    cudnnBackendDescriptor_t engine = graph->configs[config];
    *plan = NULL;
    cudnnStatus_t status =
        calls->cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, plan);
    if (!status)
        status = calls->cudnnBackendSetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                                 CUDNN_TYPE_HANDLE, 1, &calls->handle);
    if (!status)
        status = calls->cudnnBackendSetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    if (!status)
        status = calls->cudnnBackendFinalize(*plan);
    if (!status)
        status = calls->cudnnBackendGetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                 CUDNN_TYPE_INT64, 1, &count, workspace_bytes);
    if (status && *plan) {
        calls->cudnnBackendDestroyDescriptor(*plan);
        *plan = NULL;
    }
    return status;
}

cudnnStatus_t md__cudnn_execute(const struct md__cudnn_calls *calls,
                                const struct md__cudnn_graph *graph, cudnnBackendDescriptor_t plan,
                                const struct md__cuda_convolution *p, void *y, void *workspace)
{
    const void *all[MD__CUDNN_PORTS] = {p->x, p->w_last, p->bias, p->z, y};
    const void *pointers[MD__CUDNN_PORTS];
    int64_t ids[MD__CUDNN_PORTS], count = 0;
    cudnnBackendDescriptor_t pack = NULL;
    for (int64_t port = 0; port < MD__CUDNN_PORTS; port++)
        if (graph->has[port]) {
            pointers[count] = all[port];
            ids[count++] = port;
        }
    cudnnStatus_t status =
        calls->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (!status)
        status = calls->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                                 CUDNN_TYPE_VOID_PTR, count, pointers);
    if (!status)
        status = calls->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                                 CUDNN_TYPE_INT64, count, ids);
    if (!status)
        status = calls->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                                 CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!status)
        status = calls->cudnnBackendFinalize(pack);
    if (!status)
        status = calls->cudnnBackendExecute(calls->handle, plan, pack);
    if (pack)
        calls->cudnnBackendDestroyDescriptor(pack);
    return status;
}

#endif
