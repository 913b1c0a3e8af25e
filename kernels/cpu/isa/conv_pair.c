/*
 * ConvPairLast: a convolution and the depthwise one that reads it, a block of output lines at a
 * time. What lies between them, in networks of inverted bottlenecks six times as wide as what goes
 * in, never leaves the second-level cache: a task computes the lines that its own lines read, then
 * those. Lines at the border of two blocks are computed for both.
 *
 * Both halves are the kernels that they are on their own, shown a part of the image with as much
 * padding as it has there (slice_of).
 */
#include "graph/conv_pair.h"
#include "kernels/cpu/isa/conv_blocks.h"
#include "kernels/cpu/isa/kernels.h"

#define MIDDLE_FLOATS ((size_t)144 << 10) /* of lines between the two, of a task; about */

struct pair {
    struct conv conv[2]; /* whole images */
    size_t lines;        /* of a task */
    size_t blocks;       /* of an image */
    size_t middle_bytes, thread_bytes;
    size_t packed_first; /* bytes */
};

struct job {
    const struct pair *pair;
    struct conv_run run[2]; /* x, y: of whole images, but for what lies between */
    char *scratch;
};

/* Output lines [begin, end) of one image, which read input lines from *from on. */
static struct conv slice_of(const struct conv *conv, int64_t begin, int64_t end, int64_t *from)
{
    struct conv made = *conv;
    struct md_window *window = &made.window;
    int64_t first = begin * window->stride[1] - window->before[1];
    int64_t last = first + (end - 1 - begin) * window->stride[1] +
                   (window->kernel[1] - 1) * window->dilation[1] + 1;
    *from = smaller(larger(first, 0), window->in[1]);
    made.batch = 1;
    window->in[1] = larger(smaller(last, window->in[1]) - *from, 0);
    window->out[1] = end - begin;
    window->before[1] = *from - first;
    return made;
}

/* Lines that `lines` lines read, were the image large enough. */
static int64_t lines_under(const struct conv *conv, int64_t lines)
{
    const struct md_window *window = &conv->window;
    return (lines - 1) * window->stride[1] + (window->kernel[1] - 1) * window->dilation[1] + 1;
}

/* What the first half wants for so many lines, wherever in the image they lie. */
static size_t first_scratch(const struct conv *first, int64_t lines)
{
    struct conv some = *first;
    some.batch = 1;
    some.window.out[1] = lines;
    some.window.in[1] = lines_under(first, lines);
    some.window.before[1] = 0;
    size_t inside = md__conv_direct.scratch(&some);
    some.window.in[1]++; /* as where lines lie in padding: not the whole of what is there */
    size_t border = md__conv_direct.scratch(&some);
    return inside > border ? inside : border;
}

/*
 * Lines of a task: as many as fit, but enough tasks for all threads, as long as few lines are
 * computed twice.
 */
static void choose_lines(struct pair *pair, size_t threads)
{
    const struct md_window *window = &pair->conv[1].window;
    int64_t height = larger(window->out[1], 1), lines = height;
    size_t line_floats = (size_t)window->in[2] * pair->conv[1].channels;
    size_t tasks = ceil_div(2 * threads, larger((int64_t)pair->conv[1].batch, 1));
    while (lines > 1 && line_floats * (size_t)lines_under(&pair->conv[1], lines) > MIDDLE_FLOATS)
        lines = (lines + 1) / 2;
    if (threads > 1)
        lines = smaller(lines, larger((int64_t)ceil_div((size_t)height, tasks),
                                      2 * window->kernel[1] * window->dilation[1]));
    pair->blocks = ceil_div((size_t)height, (size_t)lines);
    pair->lines = ceil_div((size_t)height, pair->blocks);
    int64_t under = smaller(lines_under(&pair->conv[1], (int64_t)pair->lines), window->in[1]);
    pair->middle_bytes = align64(line_floats * (size_t)under * sizeof(float));
    pair->thread_bytes = pair->middle_bytes + align64(first_scratch(&pair->conv[0], under));
}

static bool describe(const struct md_node *node, const struct md_tensor *in, int threads,
                     struct pair *pair)
{
    struct md_conv_pair nodes;
    md_conv_pair_split(node, &nodes);
    if (!md__conv_describe(&nodes.node[0], in, 1, &pair->conv[0]))
        return false;
    const struct conv *first = &pair->conv[0];
    const struct md_tensor between[2] = {
        {.dtype = MD_F32,
         .shape = {4,
                   {(int64_t)first->batch, first->window.out[1], first->window.out[2],
                    (int64_t)first->outputs}}},
        in[3]};
    if (!md__conv_describe(&nodes.node[1], between, 1, &pair->conv[1]))
        return false;
    pair->packed_first = align64(md__conv_direct.packed_bytes(first));
    choose_lines(pair, (size_t)threads);
    return true;
}

/* Constant weights of two axes, the second depthwise. */
static bool pair_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    struct md_conv_pair nodes;
    struct conv conv[2];
    if (in_count < 4 || !md__all_f32(node, in, in_count) || in[0].shape.rank != 4)
        return false;
    md_conv_pair_split(node, &nodes);
    for (int k = 0; k < 2; k++) {
        const struct md_tensor *w = &in[k ? 3 : 1];
        if (w->data == NULL || w->shape.rank != 4 || md__count(w) == 0 ||
            !md__conv_outline(&nodes.node[k], &w->shape, &conv[k]))
            return false;
    }
    return md__conv_direct.can(&conv[0]) && md__conv_depthwise.can(&conv[1]) &&
           conv[0].outputs == conv[1].channels;
}

static enum md_status pair_prepare(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, void **made, size_t *bytes, struct md_error *err)
{
    (void)in_count;
    struct pair pair;
    if (!describe(node, in, 1, &pair))
        return md_fail(err, MD_ERR_INTERNAL, "window does not fit");
    *bytes = pair.packed_first + md__conv_depthwise.packed_bytes(&pair.conv[1]);
    char *packed = md_prepared_new(*bytes);
    if (!packed)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    md__conv_direct.pack(&pair.conv[0], in[1].data, packed);
    md__conv_depthwise.pack(&pair.conv[1], in[3].data, packed + pair.packed_first);
    *made = packed;
    return MD_OK;
}

static size_t pair_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    struct pair pair;
    return describe(node, in, threads, &pair) ? pair.thread_bytes * (size_t)threads : 0;
}

/* Floats of `lines` lines of an image. */
static size_t lines_in(const struct conv_run *run, const struct conv *conv, int64_t lines)
{
    return (size_t)(lines * conv->window.in[2]) * run->x_pitch;
}

static size_t lines_out(const struct conv_run *run, const struct conv *conv, int64_t lines)
{
    return (size_t)(lines * conv->window.out[2]) * run->y_pitch;
}

static void run_tasks(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    const struct pair *pair = job->pair;
    char *memory = job->scratch + pair->thread_bytes * (size_t)thread;
    for (size_t task = begin; task < end; task++) {
        int64_t image = (int64_t)(task / pair->blocks), from, middle;
        int64_t line = (int64_t)(task % pair->blocks * pair->lines);
        int64_t height = pair->conv[1].window.out[1];
        int64_t next = smaller(line + (int64_t)pair->lines, height);
        struct conv_run first = job->run[0], second = job->run[1];
        if (line >= next)
            continue;
        second.conv = slice_of(&pair->conv[1], line, next, &middle);
        first.conv = slice_of(&pair->conv[0], middle, middle + second.conv.window.in[1], &from);
        first.x += lines_in(&first, &pair->conv[0], image * pair->conv[0].window.in[1] + from);
        first.y = (float *)memory;
        first.scratch = memory + pair->middle_bytes;
        if (second.conv.window.in[1] > 0)
            md__conv_direct.run(&first);
        second.x = first.y;
        second.y += lines_out(&second, &pair->conv[1], image * height + line);
        md__conv_depthwise.run(&second);
    }
}

static enum md_status pair_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_conv_pair nodes;
    struct pair pair;
    int threads = call->pool ? md_pool_threads(call->pool) : 1;
    const struct md_tensor *bias[2] = {md__input(call, 2), md__input(call, 4)};
    if (!call->prepared || !describe(call->node, call->in, threads, &pair))
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    struct job job = {.pair = &pair, .scratch = call->scratch};
    md_conv_pair_split(call->node, &nodes);
    for (int k = 0; k < 2; k++) {
        job.run[k].bias = bias[k] ? bias[k]->data : NULL;
        job.run[k].packed = (const char *)call->prepared + (k ? pair.packed_first : 0);
        md__conv_read_activation(&nodes.node[k], &job.run[k]);
    }
    job.run[0].x_pitch = md_kernel_pitch(call, 0, pair.conv[0].channels);
    job.run[0].y_pitch = job.run[1].x_pitch = pair.conv[1].channels;
    job.run[1].y_pitch = md_kernel_pitch(call, call->in_count, pair.conv[1].outputs);
    job.run[0].x = call->in[0].data;
    job.run[1].y = call->out[0].data;
    md__parallel(call->pool, pair.conv[1].batch * pair.blocks, 1, run_tasks, &job);
    return MD_OK;
}

const struct md_kernel md__conv_pair = {.supports = pair_supports,
                                        .prepare = pair_prepare,
                                        .scratch_bytes = pair_scratch,
                                        .run = pair_run,
                                        .pitched = MD_PITCHED_IN(0) | MD_PITCHED_OUT};
