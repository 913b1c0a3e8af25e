/*
 * RotaryEmbedding of the standard, float32: pairs of each head's elements turn by the angle of the
 * head's place, x cos - y sin and x sin + y cos. Pairs half a head apart run in vectors, neighbours
 * one by one.
 */
#include "kernels/cpu/attend.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/ref.h"

struct turning {
    const struct md_kernel_call *call;
    const struct md_tensor *ids; /* or NULL */
    size_t heads, steps, width, half;
    struct md__heads from;
    bool neighbours;
};

static void turn_neighbours(const float *x, float *y, const float *cosine, const float *sine,
                            size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float first = x[2 * i], second = x[2 * i + 1];
        y[2 * i] = first * cosine[i] - second * sine[i];
        y[2 * i + 1] = first * sine[i] + second * cosine[i];
    }
}

static void turn_halves(const float *x, float *y, const float *cosine, const float *sine,
                        size_t half)
{
    size_t whole = half / VL * VL, rest = half - whole;
    for (size_t i = 0; i < whole; i += VL) {
        vf first = load(x + i), second = load(x + half + i);
        vf c = load(cosine + i), s = load(sine + i);
        store(y + i, first * c - second * s);
        store(y + half + i, first * s + second * c);
    }
    if (rest) {
        vf first = load_some(x + whole, rest), second = load_some(x + half + whole, rest);
        vf c = load_some(cosine + whole, rest), s = load_some(sine + whole, rest);
        store_some(y + whole, first * c - second * s, rest);
        store_some(y + half + whole, first * s + second * c, rest);
    }
}

static void turn_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct turning *all = context;
    const struct md_tensor *in = all->call->in;
    for (size_t row = begin; row < end; row++) {
        size_t place = all->ids ? (size_t)md__get_int(all->ids, row) : row;
        const float *cosine = (const float *)in[1].data + place * all->half;
        const float *sine = (const float *)in[2].data + place * all->half;
        size_t at = row / all->steps * all->from.batch + row % all->steps * all->from.step;
        for (size_t h = 0; h < all->heads; h++, at += all->from.head) {
            const float *x = (const float *)in[0].data + at;
            float *y = (float *)all->call->out[0].data + at;
            (all->neighbours ? turn_neighbours : turn_halves)(x, y, cosine, sine, all->half);
            memcpy(y + 2 * all->half, x + 2 * all->half, (all->width - 2 * all->half) * sizeof *y);
        }
    }
}

static enum md_status rotary_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *table = &call->in[1];
    bool first = x->shape.rank == 4; /* heads before steps */
    size_t heads =
        first ? (size_t)x->shape.dim[1] : (size_t)md_node_int(call->node, "num_heads", 1);
    size_t last = (size_t)x->shape.dim[x->shape.rank - 1];
    struct turning all = {.call = call,
                          .ids = md__input(call, 3),
                          .heads = heads,
                          .steps = (size_t)x->shape.dim[x->shape.rank - 2],
                          .width = first   ? last
                                   : heads ? last / heads
                                           : 0,
                          .half = (size_t)table->shape.dim[table->shape.rank - 1],
                          .from = first ? md__heads_first(x) : md__heads_last(x, heads),
                          .neighbours = md_node_int(call->node, "interleaved", 0) != 0};
    size_t rows = (size_t)x->shape.dim[0] * all.steps;
    size_t places = all.half ? md__count(table) / all.half : md__count(table);
    for (size_t row = 0; all.ids && row < rows; row++)
        if (md__get_int(all.ids, row) < 0 || (size_t)md__get_int(all.ids, row) >= places)
            return md__ref_rotary.run(call, err); /* which tells the place */
    md__parallel(call->pool, rows, md__grain(heads * all.width / VL * 2 + 1), turn_some, &all);
    return MD_OK;
}

static size_t rotary_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    return md__ref_rotary.scratch_bytes(node, in, in_count, threads);
}

static bool rotary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__all_f32(node, in, in_count < 3 ? in_count : 3);
}

const struct md_kernel md__rotary = {
    .supports = rotary_supports, .scratch_bytes = rotary_scratch, .run = rotary_run};
