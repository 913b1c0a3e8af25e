/* NonMaxSuppression around the search of one class: see suppression.h. */
#include "kernels/cpu/suppression.h"

struct all {
    const struct md_kernel_call *call;
    struct md__suppression nms; /* boxes and work are each line's own */
    md__suppress search;
    size_t classes, work_bytes;
    char *work;     /* of each thread */
    size_t *counts; /* what each line (a class of a batch element) keeps */
    int32_t *kept;
};

size_t md__suppress_scratch(const struct md_tensor *in, size_t work_bytes, int threads)
{
    size_t lines = md__span(&in[1].shape, 0, 2), boxes = (size_t)in[1].shape.dim[2];
    return work_bytes * (size_t)threads + lines * (sizeof(size_t) + boxes * sizeof(int32_t));
}

static void search_some(void *context, size_t begin, size_t end, int thread)
{
    const struct all *all = context;
    const struct md_tensor *in = all->call->in;
    struct md__suppression nms = all->nms;
    nms.work = all->work + (size_t)thread * all->work_bytes;
    for (size_t line = begin; line < end; line++) {
        nms.boxes = (const float *)in[0].data + line / all->classes * nms.count * 4;
        all->counts[line] = all->search(&nms, (const float *)in[1].data + line * nms.count,
                                        all->kept + line * nms.count);
    }
}

static enum md_status write_kept(const struct all *all, size_t lines, struct md_error *err)
{
    size_t total = 0;
    for (size_t line = 0; line < lines; line++)
        total += all->counts[line];
    struct md_shape shape = md_shape_of(2, (int64_t[]){(int64_t)total, 3});
    enum md_status status = md_kernel_output(all->call, 0, &shape, err);
    int64_t *out = all->call->out[0].data;
    for (size_t line = 0; !status && line < lines; line++)
        for (size_t k = 0; k < all->counts[line]; k++, out += 3) {
            out[0] = (int64_t)(line / all->classes);
            out[1] = (int64_t)(line % all->classes);
            out[2] = all->kept[line * all->nms.count + k];
        }
    return status;
}

enum md_status md__suppress_run(const struct md_kernel_call *call, md__suppress search,
                                size_t work_bytes, struct md_error *err)
{
    const struct md_tensor *in = call->in;
    int64_t most = md__has(in, call->in_count, 2) ? md__get_int(&in[2], 0) : 0;
    float overlap_max = md__has(in, call->in_count, 3) ? *(const float *)in[3].data : 0;
    size_t lines = md__span(&in[1].shape, 0, 2);
    struct all all = {.call = call, .search = search, .work_bytes = work_bytes};
    all.classes = (size_t)in[1].shape.dim[1];
    all.nms = (struct md__suppression){
        .count = (size_t)in[1].shape.dim[2],
        .most = most > 0 ? (size_t)most : 0,
        .overlap_max = overlap_max,
        .has_score_min = md__has(in, call->in_count, 4),
        .centered = md_node_int(call->node, "center_point_box", 0) != 0,
    };
    if (all.nms.has_score_min)
        all.nms.score_min = *(const float *)in[4].data;
    if (!(overlap_max >= 0 && overlap_max <= 1))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "iou_threshold is %g", (double)overlap_max);
    all.work = call->scratch;
    size_t threads = call->pool ? (size_t)md_pool_threads(call->pool) : 1;
    all.counts = (size_t *)(all.work + work_bytes * threads);
    all.kept = (int32_t *)(all.counts + lines);
    md__parallel(call->pool, lines, md__grain(all.nms.count * 16), search_some, &all);
    return write_kept(&all, lines, err);
}
