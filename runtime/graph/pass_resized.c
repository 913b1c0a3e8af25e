/*
 * A 1 x 1 convolution over a Concat of resized images, as segmentation heads have it, works on the
 * large parts before they are resized: resizing mixes places, the convolution channels, and either
 * may come first.
 *
 *     conv(Concat(x, Resize(y), ..))      conv(x, W for x) + Resize(conv(y, W for y)) + ..
 *
 * Exact but for rounding. It saves as many multiplications as Resize adds places, and costs a pass
 * over the result; parts with few channels, or hardly enlarged, stay where they are. The sums go on
 * into the convolution's and Resize's residuals.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

#define CHANNELS_MIN 128 /* of a part */
#define ENLARGED_MIN 4   /* places for each place */

enum { PARTS_MAX = 16, ATTRS_MAX = 16 };

/* 1 x 1, one group, without strides and padding, with no residual yet. */
static bool is_plain_conv(const struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_tensor *w = md__rw_weights(rewrite, node->in[1]);
    return md__is_pointwise(w) && w->shape.rank == 4 && md_node_int(node, "group", 1) == 1 &&
           md__body_in(node, 3) == MD_NONE && node->attr_count <= ATTRS_MAX &&
           md__is_unpadded(node) && md__ints_all(node, "strides", 1);
}

/* Batch and channels are left alone. */
static bool keeps_channels(const struct md__rewrite *rewrite, const struct md_node *resize)
{
    const struct md_attr *axes = md_node_attr(resize, "axes");
    const char *mode = md_node_string(resize, "coordinate_transformation_mode", "half_pixel");
    const struct md_tensor *scales = md__rw_weights(rewrite, md__body_in(resize, 2));
    int scale = md__body_in(resize, 2);
    if (strcmp(mode, "tf_crop_and_resize") == 0)
        return false;
    for (int i = 0; axes && i < axes->count; i++)
        if (axes->ints[i] < 2)
            return false;
    if (axes || scale == MD_NONE)
        return true; /* sizes: compared by the caller */
    const float *numbers = scales ? scales->data : NULL;
    return numbers && md_tensor_count(scales) >= 2 && numbers[0] == 1 && numbers[1] == 1;
}

/* The Resize that makes this part of the Concat alone, when it pays to resize later. */
static const struct md_node *find_resize(const struct md__rewrite *rewrite, int part)
{
    const struct md_node *resize = md__rw_sole_maker(rewrite, part);
    if (!resize || resize->op != MD_OP_RESIZE || resize->attr_count > ATTRS_MAX ||
        resize->in_count > 4 || md__rw_dtype(rewrite, part) != MD_F32 ||
        !keeps_channels(rewrite, resize))
        return NULL;
    int64_t small[4], large[4];
    for (int i = 0; i < 4; i++) {
        small[i] = md__rw_dim(rewrite, resize->in[0], i);
        large[i] = md__rw_dim(rewrite, part, i);
    }
    bool known =
        small[1] >= CHANNELS_MIN && small[2] > 0 && small[3] > 0 && large[2] > 0 && large[3] > 0;
    return known && small[0] == large[0] && small[1] == large[1] &&
                   large[2] / small[2] * (large[3] / small[3]) >= ENLARGED_MIN
               ? resize
               : NULL;
}

/* The weights' columns for channels [first, first + count), added to those at *made. */
static void copy_columns(const struct md_tensor *w, int64_t first, int64_t count,
                         const struct md_tensor *made, int64_t at)
{
    int64_t from = w->shape.dim[1], to = made->shape.dim[1];
    for (int64_t o = 0; o < w->shape.dim[0]; o++)
        memcpy((float *)made->data + o * to + at, (const float *)w->data + o * from + first,
               (size_t)count * sizeof(float));
}

static enum md_status new_columns(const struct md_tensor *w, int64_t count, struct md_tensor *made,
                                  struct md_error *err)
{
    const struct md_shape shape = {4, {w->shape.dim[0], count, 1, 1}};
    return md_tensor_new(MD_F32, &shape, made, err);
}

/* *sum becomes Resize(conv(y)) + *sum. */
static enum md_status add_part(struct md__rewrite *rewrite, const struct md_node *resize,
                               struct md_tensor *w, int *sum, struct md_error *err)
{
    struct md_attr attrs[ATTRS_MAX];
    int in[4], conv_in[2] = {resize->in[0], MD_NONE}, out, count = resize->in_count;
    int attr_count = resize->attr_count;
    memcpy(attrs, resize->attrs, (size_t)attr_count * sizeof *attrs);
    for (int i = 1; i < count; i++)
        in[i] = resize->in[i];
    enum md_status status = md__rw_add_constant(rewrite, w, &conv_in[1], err);
    if (!status)
        status = md__rw_node(rewrite, "Conv", conv_in, 2, NULL, 0, &in[0], 1, err);
    if (!status)
        status = md__rw_node(rewrite, "Resize", in, count, attrs, attr_count, &out, 1, err);
    if (!status && *sum != MD_NONE) {
        const int both[] = {out, *sum};
        status = md__rw_node(rewrite, "Add", both, 2, NULL, 0, &out, 1, err);
    }
    *sum = out;
    return status;
}

struct head {
    struct md_node conv;
    int x, part_count, parts[PARTS_MAX];
    int64_t channels[PARTS_MAX], left; /* of each part; of those that stay */
    bool later[PARTS_MAX];             /* resized later */
};

static bool find_head(const struct md__rewrite *rewrite, int n, struct head *head)
{
    *head = (struct head){.conv = rewrite->graph->nodes[n]};
    if ((head->conv.op != MD_OP_CONV && head->conv.op != MD_OP_FUSED_CONV) ||
        !is_plain_conv(rewrite, &head->conv))
        return false;
    const struct md_node *concat = md__rw_sole_maker(rewrite, head->conv.in[0]);
    if (!concat || concat->op != MD_OP_CONCAT || md_node_int(concat, "axis", 0) != 1 ||
        concat->in_count > PARTS_MAX || md__rw_rank(rewrite, head->conv.in[0]) != 4)
        return false;
    int later = 0;
    int64_t all = 0;
    head->part_count = concat->in_count;
    for (int i = 0; i < head->part_count; i++) {
        head->parts[i] = concat->in[i];
        head->channels[i] = md__rw_dim(rewrite, concat->in[i], 1);
        head->later[i] = find_resize(rewrite, concat->in[i]) != NULL;
        if (head->channels[i] <= 0)
            return false;
        later += head->later[i];
        all += head->channels[i];
        head->left += head->later[i] ? 0 : head->channels[i];
    }
    return later > 0 && later < head->part_count &&
           all == md__rw_weights(rewrite, head->conv.in[1])->shape.dim[1];
}

/* The convolution of what stays, with the sum as its residual. */
static enum md_status put_rest(struct md__rewrite *rewrite, int n, const struct head *head,
                               struct md_tensor *w, int sum, struct md_error *err)
{
    int rest[PARTS_MAX], count = 0, out;
    int in[4] = {MD_NONE, MD_NONE, md__body_in(&head->conv, 2), sum};
    const struct md_attr axis = MD_INT_ATTR("axis", 1);
    enum md_status status = md__rw_add_constant(rewrite, w, &in[1], err);
    for (int i = 0; i < head->part_count; i++)
        if (!head->later[i])
            rest[count++] = head->parts[i];
    in[0] = rest[0];
    if (!status && count > 1)
        status = md__rw_node(rewrite, "Concat", rest, count, &axis, 1, &in[0], 1, err);
    if (!status)
        status = md__rw_node(rewrite, "com.microsoft.FusedConv", in, 4, head->conv.attrs,
                             head->conv.attr_count, &out, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &out);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    struct head head;
    if (!md__has_own_kernel(rewrite->options, MD_OP_FUSED_CONV) || !find_head(rewrite, n, &head))
        return MD_OK;
    const struct md_tensor *w = md__rw_weights(rewrite, head.conv.in[1]);
    struct md_tensor left, own = {0};
    enum md_status status = new_columns(w, head.left, &left, err);
    int64_t first = 0, kept = 0;
    int sum = MD_NONE;
    for (int i = 0; !status && i < head.part_count; first += head.channels[i++]) {
        w = md__rw_weights(rewrite, head.conv.in[1]);
        if (!head.later[i]) {
            copy_columns(w, first, head.channels[i], &left, kept);
            kept += head.channels[i];
            continue;
        }
        status = new_columns(w, head.channels[i], &own, err);
        if (!status) {
            copy_columns(w, first, head.channels[i], &own, 0);
            struct md_node resize = *find_resize(rewrite, head.parts[i]);
            status = add_part(rewrite, &resize, &own, &sum, err);
        }
        md_tensor_unref(&own);
    }
    if (!status)
        status = put_rest(rewrite, n, &head, &left, sum, err);
    md_tensor_unref(&left);
    return status;
}

enum md_status md__pass_resized(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
