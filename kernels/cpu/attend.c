/* Attention for reference kernels: see attend.h. */
#include "kernels/cpu/attend.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"

struct md__heads md__heads_first(const struct md_tensor *tensor)
{
    const int64_t *dim = tensor->shape.dim;
    size_t width = (size_t)dim[3], steps = (size_t)dim[2], heads = (size_t)dim[1];
    return (struct md__heads){tensor, 0, heads * steps * width, steps * width, width};
}

struct md__heads md__heads_last(const struct md_tensor *tensor, size_t heads)
{
    const int64_t *dim = tensor->shape.dim;
    size_t row = (size_t)dim[2], steps = (size_t)dim[1];
    return (struct md__heads){tensor, 0, steps * row, heads ? row / heads : 0, row};
}

static size_t place(const struct md__heads *heads, size_t b, size_t h, size_t step)
{
    return heads->offset + b * heads->batch + h * heads->head + step * heads->step;
}

/* Reads all vectors of one head, those of the cache first. */
static void load_head(const struct md__heads *past, size_t past_steps, const struct md__heads *now,
                      size_t b, size_t h, size_t steps, size_t width, double *to)
{
    for (size_t t = 0; t < steps; t++, to += width) {
        bool old = t < past_steps;
        const struct md__heads *from = old ? past : now;
        md__load_floats(from->tensor, place(from, b, h, old ? t : t - past_steps), 1, width, to);
    }
}

struct room {
    double *k, *v, *q, *scores, *sum;
};

static size_t room_doubles(size_t keys, size_t width, size_t v_width)
{
    return keys * (width + v_width + 1) + width + v_width;
}

size_t md__attend_scratch(size_t keys, size_t width, size_t v_width, int threads)
{
    return room_doubles(keys, width, v_width) * sizeof(double) * (size_t)threads;
}

static void keep(const struct md__attend *attend, enum md__attend_stage stage, size_t row,
                 const double *scores)
{
    if (attend->scores && attend->stage == stage)
        md__store_floats(attend->scores, row * attend->keys, 1, attend->keys, scores);
}

static double rounded(double x, enum md_dtype dtype)
{
    if (dtype == MD_BF16)
        return md_bf16_to_f32(md_f32_to_bf16((float)x));
    return dtype == MD_F16 ? md_f16_to_f32(md_f32_to_f16((float)x)) : x;
}

/* Scores become shares that add up to 1; to 0 when every key is hidden. */
static void softmax(const struct md__attend *attend, double *scores)
{
    enum md_dtype dtype = attend->softmax_precision;
    double max = attend->has_sink ? attend->sink : -INFINITY, sum = 0;
    for (size_t j = 0; j < attend->keys; j++)
        max = fmax(max, scores[j]);
    for (size_t j = 0; j < attend->keys; j++) {
        bool hidden = max == -INFINITY || scores[j] == -INFINITY;
        scores[j] = hidden ? 0 : rounded(exp(rounded(scores[j] - max, dtype)), dtype);
        sum += scores[j];
        if (dtype == MD_BF16) /* as NumPy adds: bfloat16 step by step, float16 at the end */
            sum = rounded(sum, dtype);
    }
    sum = rounded(sum, dtype);
    if (attend->has_sink)
        sum += exp(attend->sink - max);
    for (size_t j = 0; j < attend->keys; j++)
        scores[j] = rounded(sum == 0 ? 0 : rounded(scores[j] / sum, dtype), attend->precision);
}

/* Multiplies vectors by the scale, half of it to the queries and half to the keys: where results
 * are rounded that makes a difference. */
static void scale_vectors(const struct md__attend *attend, double *x, size_t count)
{
    double half = rounded(sqrt(attend->scale), attend->precision);
    for (size_t i = 0; attend->precision && i < count; i++)
        x[i] = rounded(x[i] * half, attend->precision);
}

static double capped(const struct md__attend *attend, double score)
{
    score = rounded(score / attend->softcap, attend->precision);
    score = rounded(tanh(score), attend->precision);
    return rounded(score * attend->softcap, attend->precision);
}

static void one_query(const struct md__attend *attend, const struct room *room, size_t b, size_t h,
                      size_t i)
{
    size_t row = (b * attend->heads + h) * attend->queries + i, width = attend->width;
    double *scores = room->scores, scale = attend->precision ? 1 : attend->scale;
    md__load_floats(attend->q.tensor, place(&attend->q, b, h, i), 1, width, room->q);
    scale_vectors(attend, room->q, width);
    for (size_t j = 0; j < attend->keys; j++) {
        const double *k = room->k + j * width;
        double sum = 0;
        for (size_t e = 0; e < width; e++)
            sum += room->q[e] * k[e];
        scores[j] = rounded(sum * scale, attend->precision);
    }
    keep(attend, MD__SCORES_RAW, row, scores);
    for (size_t j = 0; attend->softcap > 0 && j < attend->keys; j++)
        scores[j] = capped(attend, scores[j]);
    keep(attend, MD__SCORES_CAPPED, row, scores);
    for (size_t j = 0; attend->bias && j < attend->keys; j++) {
        double bias = attend->bias(attend->context, b, h, i, j);
        scores[j] = bias == -INFINITY ? bias : rounded(scores[j] + bias, attend->precision);
    } /* hides NaN, too */
    keep(attend, MD__SCORES_BIASED, row, scores);
    softmax(attend, scores);
    keep(attend, MD__SCORES_SHARES, row, scores);
    memset(room->sum, 0, attend->v_width * sizeof *room->sum);
    for (size_t j = 0; j < attend->keys; j++) {
        const double *v = room->v + j * attend->v_width, share = scores[j];
        for (size_t e = 0; share != 0 && e < attend->v_width; e++)
            room->sum[e] += share * v[e];
    }
    md__store_floats(attend->y.tensor, place(&attend->y, b, h, i), 1, attend->v_width, room->sum);
}

struct job {
    const struct md__attend *attend;
    double *scratch;
};

/* Heads [begin, end), counted through the batch. */
static void attend_heads(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    const struct md__attend *a = job->attend;
    double *memory = job->scratch + room_doubles(a->keys, a->width, a->v_width) * (size_t)thread;
    struct room room = {.k = memory, .v = memory + a->keys * a->width};
    room.q = room.v + a->keys * a->v_width;
    room.scores = room.q + a->width;
    room.sum = room.scores + a->keys;
    for (size_t head = begin; head < end; head++) {
        size_t b = head / a->heads, h = head % a->heads, kv = h / (a->heads / a->kv_heads);
        load_head(&a->past_k, a->past, &a->k, b, kv, a->keys, a->width, room.k);
        scale_vectors(a, room.k, a->keys * a->width);
        load_head(&a->past_v, a->past, &a->v, b, kv, a->keys, a->v_width, room.v);
        for (size_t i = 0; i < a->queries; i++)
            one_query(a, &room, b, h, i);
    }
}

void md__attend(const struct md__attend *attend, struct md_pool *pool, void *scratch)
{
    struct job job = {attend, scratch};
    size_t cost = attend->queries * attend->keys * (attend->width + attend->v_width + 16);
    md__parallel(pool, attend->batch * attend->heads, md__grain(cost), attend_heads, &job);
}

void md__join_cache(const struct md__heads *past, size_t past_steps, const struct md__heads *now,
                    const struct md_tensor *to)
{
    size_t bytes = md_dtype_bytes(to->dtype), width = (size_t)to->shape.dim[3];
    size_t lines = md__span(&to->shape, 0, 3), steps = (size_t)to->shape.dim[2];
    size_t heads = (size_t)to->shape.dim[1];
    for (size_t line = 0; line < lines; line++) {
        size_t t = line % steps, h = line / steps % heads, b = line / steps / heads;
        const struct md__heads *from = t < past_steps ? past : now;
        size_t at = place(from, b, h, t < past_steps ? t : t - past_steps);
        memcpy((char *)to->data + line * width * bytes,
               (const char *)from->tensor->data + at * bytes, width * bytes);
    }
}
