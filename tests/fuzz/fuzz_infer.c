/*
 * Shape rules, planning, kernels and control flow on small graphs that are decoded from bytes: any
 * operators, any attributes, bodies in bodies, any values as inputs. A graph is refused or runs;
 * nothing is read or written outside its tensors (the sanitizers see to that), and no failure is
 * called internal.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fuzz.h"
#include "graph/executable.h"
#include "kernels/cpu/cpu.h"

enum {
    ELEMENTS_MAX = 4096,
    NODES_MAX = 8,
    VALUES_MAX = 64,
    PORTS_MAX = 8,
    ATTRS_MAX = 4,
    BYTES_MAX = 1 << 20,
    DEPTH_MAX = 2,
    ITERATIONS_MAX = 50
};

struct source {
    const uint8_t *at, *end;
};

static int take(struct source *source, int below)
{
    return source->at < source->end ? *source->at++ % below : 0;
}

struct builder {
    struct source source;
    struct md_graph *graph;
    int values[VALUES_MAX];
    int count, depth;
};

static void keep(struct builder *builder, int value)
{
    if (builder->count < VALUES_MAX)
        builder->values[builder->count++] = value;
}

static enum md_dtype take_dtype(struct source *source)
{
    static const enum md_dtype dtypes[] = {MD_F32, MD_F32, MD_F32,  MD_I64, MD_I64, MD_I32, MD_BOOL,
                                           MD_F64, MD_F16, MD_BF16, MD_U8,  MD_I8,  MD_U64};
    return dtypes[take(source, (int)(sizeof dtypes / sizeof *dtypes))];
}

static struct md_shape take_shape(struct source *source)
{
    struct md_shape shape = {.rank = take(source, 6)};
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++) {
        int64_t dim = take(source, 8) == 7 ? take(source, 40) : take(source, 5);
        shape.dim[i] = count * dim <= ELEMENTS_MAX ? dim : 1;
        count *= shape.dim[i];
    }
    return shape;
}

static void fill(struct source *source, struct md_tensor *tensor)
{
    uint8_t *bytes = tensor->data;
    size_t size = md_dtype_bytes(tensor->dtype), count = md_tensor_count(tensor);
    for (size_t i = 0; i < count && tensor->dtype != MD_BOOL; i++) {
        int number = take(source, 16) - 5;
        if (tensor->dtype == MD_F32)
            ((float *)tensor->data)[i] = (float)number;
        else
            memset(bytes + i * size, number < 0 ? 0xff : 0, size);
        if (tensor->dtype != MD_F32)
            bytes[i * size] = (uint8_t)number;
    }
    for (size_t i = 0; i < count && tensor->dtype == MD_BOOL; i++)
        bytes[i] = (uint8_t)take(source, 2);
}

static void add_constant(struct builder *builder)
{
    struct md_tensor tensor;
    enum md_dtype dtype = take_dtype(&builder->source);
    struct md_shape shape = take_shape(&builder->source);
    int value;
    if (md_tensor_new(dtype, &shape, &tensor, NULL))
        return;
    fill(&builder->source, &tensor);
    if (!md_graph_constant(builder->graph, "", &tensor, &value, NULL))
        keep(builder, value);
    md_tensor_unref(&tensor);
}

static void add_input(struct builder *builder, int number)
{
    char name[] = {(char)('a' + number), '\0'};
    struct md_shape shape = take_shape(&builder->source);
    int value;
    if (!md_graph_input(builder->graph, name, take_dtype(&builder->source), &shape, &value, NULL))
        keep(builder, value);
}

/* What operators ask for, and a word that none knows. */
static const char *const attr_names[] = {"axis",
                                         "axes",
                                         "keepdims",
                                         "perm",
                                         "kernel_shape",
                                         "strides",
                                         "pads",
                                         "dilations",
                                         "group",
                                         "auto_pad",
                                         "to",
                                         "mode",
                                         "alpha",
                                         "beta",
                                         "transA",
                                         "transB",
                                         "ceil_mode",
                                         "allowzero",
                                         "start",
                                         "end",
                                         "num_outputs",
                                         "batch_dims",
                                         "block_size",
                                         "blocksize",
                                         "hidden_size",
                                         "direction",
                                         "layout",
                                         "count_include_pad",
                                         "output_shape",
                                         "output_padding",
                                         "p",
                                         "k",
                                         "largest",
                                         "sorted",
                                         "exclusive",
                                         "reverse",
                                         "upper",
                                         "reduction",
                                         "equation",
                                         "dtype",
                                         "value",
                                         "epsilon",
                                         "num_heads",
                                         "kv_num_heads",
                                         "q_num_heads",
                                         "size",
                                         "num_groups",
                                         "coordinate_transformation_mode",
                                         "nearest_mode",
                                         "time_axis",
                                         "batch_axis",
                                         "fmod",
                                         "noop_with_empty_axes",
                                         "select_last_index",
                                         "storage_order",
                                         "onesided",
                                         "inverse",
                                         "is_causal",
                                         "output_dtype",
                                         "stash_type",
                                         "padding_mode",
                                         "align_corners",
                                         "offset_group"};
static const char *const attr_texts[] = {
    "SAME_UPPER", "SAME_LOWER", "VALID",   "NOTSET",     "linear",     "nearest",
    "cubic",      "constant",   "reflect", "edge",       "wrap",       "bidirectional",
    "reverse",    "add",        "mul",     "max",        "ij,jk->ik",  "...i,ij->...j",
    "ii->i",      "DCR",        "CRD",     "asymmetric", "half_pixel", "floor",
    "ceil",       "bad"};

struct attr_memory {
    int64_t ints[ATTRS_MAX][8];
    double floats[ATTRS_MAX][8];
};

static struct md_attr take_attr(struct source *source, struct attr_memory *memory, int at)
{
    struct md_attr attr = {
        .name = attr_names[take(source, (int)(sizeof attr_names / sizeof *attr_names))]};
    attr.type = (enum md_attr_type)take(source, 5);
    attr.i = take(source, 24) - 6;
    attr.f = attr.i / 4.0;
    attr.s = attr_texts[take(source, (int)(sizeof attr_texts / sizeof *attr_texts))];
    attr.ints = memory->ints[at];
    attr.floats = memory->floats[at];
    attr.count = attr.type > MD_ATTR_STRING ? take(source, 9) : 0;
    for (int i = 0; i < attr.count; i++) {
        memory->ints[at][i] = take(source, 12) - 3;
        memory->floats[at][i] = (double)memory->ints[at][i] / 2;
    }
    return attr;
}

static void add_node(struct builder *builder);

/* A body for a control node that is given these values, or NULL. */
static struct md_graph *take_body(struct builder *outer, const int *given, int count)
{
    struct builder body = {.source = outer->source, .depth = outer->depth + 1};
    const struct md_shape any = {.rank = MD_RANK_UNKNOWN};
    bool good = !md_graph_new("", &body.graph, NULL);
    for (int i = 0; good && i < count; i++) {
        char name[] = {(char)('a' + i), '\0'};
        enum md_dtype dtype = given[i] == MD_NONE ? 0 : outer->graph->values[given[i]].dtype;
        int value = 0;
        good = !md_graph_input(body.graph, name, dtype ? dtype : take_dtype(&body.source), &any,
                               &value, NULL);
        keep(&body, value);
    }
    if (good)
        add_constant(&body);
    for (int i = take(&body.source, 4); good && i > 0; i--)
        add_node(&body);
    for (int i = 1 + take(&body.source, 3); good && i > 0; i--) {
        char name[] = {(char)('p' + i), '\0'};
        good = body.count && !md_graph_output(body.graph, name,
                                              body.values[take(&body.source, body.count)], NULL);
    }
    outer->source = body.source;
    if (good)
        return body.graph;
    md_graph_delete(body.graph);
    return NULL;
}

static void add_control(struct builder *builder, enum md_op op)
{
    const int64_t axes[1] = {take(&builder->source, 3) - 1};
    int in[PORTS_MAX], out[PORTS_MAX], first = op == MD_OP_IF ? 1 : 0;
    int in_count = first + 1 + take(&builder->source, 4), captured = take(&builder->source, 4);
    int out_count = 1 + take(&builder->source, 2);
    if (builder->depth >= DEPTH_MAX || !builder->count)
        return;
    for (int i = 0; i < in_count; i++)
        in[i] = builder->values[take(&builder->source, builder->count)];
    if (op == MD_OP_LOOP && take(&builder->source, 2))
        in[0] = MD_NONE;
    struct md_graph *body = take_body(builder, in + first, in_count - first);
    struct md_graph *other = first ? take_body(builder, in + first, in_count - first) : NULL;
    const struct md_attr attrs[] = {
        {.name = "moondial.captured", .type = MD_ATTR_INT, .i = captured},
        {.name = "num_scan_inputs", .type = MD_ATTR_INT, .i = 1},
        {.name = "scan_input_axes", .type = MD_ATTR_INTS, .ints = axes, .count = 1},
        {.name = first ? "then_branch" : "body", .type = MD_ATTR_GRAPH, .graph = body},
        {.name = "else_branch", .type = MD_ATTR_GRAPH, .graph = other}};
    if (md_graph_node(builder->graph, md_op_info(op)->name, "", in, in_count, attrs, 4 + first, out,
                      out_count, NULL)) {
        md_graph_delete(body);
        md_graph_delete(other);
        return;
    }
    for (int i = 0; i < out_count; i++)
        keep(builder, out[i]);
}

static void add_node(struct builder *builder)
{
    enum md_op op = (enum md_op)take(&builder->source, MD_OP_COUNT);
    const struct md_op_info *info = md_op_info(op);
    struct attr_memory memory;
    struct md_attr attrs[ATTRS_MAX];
    int in[PORTS_MAX], out[PORTS_MAX], attr_count = take(&builder->source, ATTRS_MAX + 1);
    if (md_op_is_control(op)) {
        add_control(builder, op);
        return;
    }
    int in_count = info->in_min + take(&builder->source, 3);
    int out_count = info->out_min + take(&builder->source, 2);
    if (in_count > PORTS_MAX || out_count > PORTS_MAX)
        return;
    for (int i = 0; i < in_count; i++) {
        int at = take(&builder->source, builder->count + 1);
        in[i] = at < builder->count ? builder->values[at] : MD_NONE;
    }
    for (int i = 0; i < attr_count; i++)
        attrs[i] = take_attr(&builder->source, &memory, i);
    if (md_graph_node(builder->graph, info->name, "", in, in_count, attrs, attr_count, out,
                      out_count, NULL))
        return;
    for (int i = 0; i < out_count; i++)
        keep(builder, out[i]);
}

static enum md_status build(struct builder *builder, struct md_error *err)
{
    int inputs = take(&builder->source, 4), constants = 1 + take(&builder->source, 5);
    enum md_status status = md_graph_new("", &builder->graph, err);
    for (int i = 0; !status && i < inputs; i++)
        add_input(builder, i);
    for (int i = 0; !status && i < constants; i++)
        add_constant(builder);
    for (int i = 0; !status && i < NODES_MAX && builder->source.at < builder->source.end; i++)
        add_node(builder);
    for (int i = 1; !status && i <= 2 && i <= builder->count; i++)
        status = md_graph_output(builder->graph, i == 1 ? "y" : "z",
                                 builder->values[builder->count - i], err);
    return status;
}

static enum md_status run(struct builder *builder, struct md_executable *executable,
                          struct md_error *err)
{
    const struct md_graph *graph = md_executable_graph(executable);
    struct md_tensor inputs[PORTS_MAX] = {0}, outputs[PORTS_MAX] = {0};
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < graph->input_count; i++) {
        const struct md_value *value = &graph->values[graph->inputs[i].value];
        status = md_tensor_new(value->dtype, &value->shape, &inputs[i], err);
        if (!status)
            fill(&builder->source, &inputs[i]);
    }
    if (!status)
        status = md_executable_run(executable, inputs, graph->input_count, outputs,
                                   graph->output_count, err);
    for (int i = 0; i < PORTS_MAX; i++) {
        md_tensor_unref(&inputs[i]);
        md_tensor_unref(&outputs[i]);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct md_pool *pool;
    struct md_error err = {0};
    struct builder builder = {.source = {data, data + size}};
    struct md_executable *executable = NULL;
    if (!pool && md_pool_new(1, 0, &pool, &err))
        return 0;
    md_log_set_level(MD_LOG_OFF); /* passes say what they could not lower */
    const struct md_executable_options how = {.backend = md_cpu_backend(MD_ISA_PORTABLE),
                                              .reference = md_cpu_reference(),
                                              .pool = pool,
                                              .plan_bytes_max = BYTES_MAX,
                                              .iterations_max = ITERATIONS_MAX};
    enum md_status status = build(&builder, &err);
    if (status)
        md_graph_delete(builder.graph);
    else
        status = md_executable_new(builder.graph, &how, &executable, &err);
    if (executable)
        status = run(&builder, executable, &err);
    assert(status != MD_ERR_INTERNAL && status != MD_ERR_PENDING);
    assert(status == MD_OK || err.text[0]);
    md_executable_delete(executable);
    return 0;
}
