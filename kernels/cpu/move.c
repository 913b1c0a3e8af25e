/*
 * Fast kernels that only move elements, for every instruction set alike.
 *
 * Each operator only says which strides it means; one engine merges neighbouring axes and copies:
 * with memcpy where both sides run along, element by element in a typed loop otherwise.
 */
#include "kernels/cpu/move.h"

#include <string.h>

#include "kernels/cpu/ref.h"

#define MOVE_GRAIN_BYTES 65536

/* ---- the engine ------------------------------------------------------------------------------ */

/* A loop over one axis: strides in elements. */
struct axis {
    size_t count;
    int64_t from, to;
};

/* Short runs, as of a Concat of features, are not worth a call. */
static inline void copy_bytes(const char *from, char *to, size_t bytes)
{
    if (bytes == 64)
        memcpy(to, from, 64);
    else if (bytes == 128)
        memcpy(to, from, 128);
    else
        memcpy(to, from, bytes);
}

#define STRIDED(type)                                                                              \
    do {                                                                                           \
        const type *source = (const type *)from;                                                   \
        type *target = (type *)to;                                                                 \
        for (size_t i = 0; i < axis->count; i++)                                                   \
            target[(int64_t)i * axis->to] = source[(int64_t)i * axis->from];                       \
    } while (0)

static void copy_axis(const struct axis *axis, const char *from, char *to, size_t bytes)
{
    if (axis->from == 1 && axis->to == 1) {
        copy_bytes(from, to, axis->count * bytes);
        return;
    }
    switch (bytes) {
    case 1:
        STRIDED(uint8_t);
        break;
    case 2:
        STRIDED(uint16_t);
        break;
    case 4:
        STRIDED(uint32_t);
        break;
    default:
        STRIDED(uint64_t);
    }
}

struct job {
    const struct md__move *move;
    struct axis rows, inner; /* the two innermost axes; the walk has the others */
};

/* Rows [begin, end) of one plane. */
static void move_rows(const struct job *job, const char *from, char *to, size_t begin, size_t end)
{
    int64_t bytes = (int64_t)job->move->bytes;
    from += (int64_t)begin * job->rows.from * bytes;
    to += (int64_t)begin * job->rows.to * bytes;
    for (size_t row = begin; row < end; row++) {
        copy_axis(&job->inner, from, to, job->move->bytes);
        from += job->rows.from * bytes;
        to += job->rows.to * bytes;
    }
}

/* Rows [begin, end) of all planes, counted through. */
static void move_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct job *job = context;
    struct md__walk walk = job->move->walk;
    int64_t bytes = (int64_t)job->move->bytes;
    size_t skip = begin % job->rows.count;
    md__walk_seek(&walk, begin / job->rows.count);
    for (size_t count; begin < end; begin += count, skip = 0, md__walk_next(&walk)) {
        count = job->rows.count - skip < end - begin ? job->rows.count - skip : end - begin;
        move_rows(job, job->move->from + walk.at[0] * bytes, job->move->to + walk.at[1] * bytes,
                  skip, skip + count);
    }
}

/* The axis for the inner loop goes last: the last one, or a longer one when that is very short. */
static void choose_inner(struct md__walk *walk)
{
    int last = walk->rank - 1, best = last;
    for (int axis = 0; axis < last; axis++)
        if (walk->dim[last] < 8 && walk->dim[axis] > walk->dim[best])
            best = axis;
    int64_t dim = walk->dim[best];
    walk->dim[best] = walk->dim[last];
    walk->dim[last] = dim;
    for (int w = 0; w < 2; w++) {
        int64_t stride = walk->stride[w][best];
        walk->stride[w][best] = walk->stride[w][last];
        walk->stride[w][last] = stride;
    }
}

/* Takes the last axis out of the walk; a walk without axes has one position. */
static struct axis take_last(struct md__walk *walk)
{
    if (walk->rank == 0)
        return (struct axis){.count = 1};
    int last = --walk->rank;
    return (struct axis){.count = (size_t)walk->dim[last],
                         .from = walk->stride[0][last],
                         .to = walk->stride[1][last]};
}

/* ---- matrices turned over: one axis runs along in the source, another in the target ---- */

#define TURN_BLOCK 64 /* elements along the source's axis that go together: whole cache lines */

typedef uint32_t four __attribute__((vector_size(16), aligned(4), may_alias));

struct turning {
    const struct md__move *move;
    struct axis along, across; /* along: from == 1; across: to == 1 */
    size_t blocks;             /* of `along` */
};

/* Four by four elements. */
static inline void turn_square(const uint32_t *from, int64_t from_step, uint32_t *to,
                               int64_t to_step)
{
    typedef uint32_t vector __attribute__((vector_size(16)));
    vector a = *(const four *)from, b = *(const four *)(from + from_step);
    vector c = *(const four *)(from + 2 * from_step), d = *(const four *)(from + 3 * from_step);
    const vector low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5},
                 second = {2, 3, 6, 7};
    vector ab = __builtin_shuffle(a, b, low), cd = __builtin_shuffle(c, d, low);
    *(four *)to = __builtin_shuffle(ab, cd, first);
    *(four *)(to + to_step) = __builtin_shuffle(ab, cd, second);
    ab = __builtin_shuffle(a, b, high);
    cd = __builtin_shuffle(c, d, high);
    *(four *)(to + 2 * to_step) = __builtin_shuffle(ab, cd, first);
    *(four *)(to + 3 * to_step) = __builtin_shuffle(ab, cd, second);
}

/* Three channels of a picture, side by side. */
static void turn_three(const uint32_t *from, int64_t from_step, uint32_t *to, int64_t to_step,
                       size_t count)
{
    for (size_t i = 0; i < count; i++, to += to_step) {
        uint32_t a = from[i], b = from[i + (size_t)from_step], c = from[i + 2 * (size_t)from_step];
        to[0] = a;
        to[1] = b;
        to[2] = c;
    }
}

/* The same of bytes, pixels one behind the other: each is stored with a byte of the next one, which
 * then follows. */
static void turn_three_bytes(const uint8_t *from, int64_t from_step, uint8_t *to, size_t count)
{
    const uint8_t *second = from + from_step, *third = second + from_step;
    size_t last = count - 1;
    for (size_t i = 0; i < last; i++, to += 3) {
        uint32_t pixel = from[i] | (uint32_t)second[i] << 8 | (uint32_t)third[i] << 16;
        memcpy(to, &pixel, sizeof pixel);
    }
    to[0] = from[last];
    to[1] = second[last];
    to[2] = third[last];
}

/* `count` elements along, all across. */
static void turn_block(const struct turning *turning, const uint32_t *from, uint32_t *to,
                       size_t count)
{
    int64_t from_step = turning->across.from, to_step = turning->along.to;
    size_t across = turning->across.count, k = 0, whole = count / 4 * 4;
    if (across == 3) {
        turn_three(from, from_step, to, to_step, count);
        return;
    }
    for (; k + 4 <= across; k += 4) {
        const uint32_t *rows = from + (int64_t)k * from_step;
        for (size_t i = 0; i < whole; i += 4)
            turn_square(rows + i, from_step, to + (int64_t)i * to_step + k, to_step);
        for (size_t i = whole; i < count; i++)
            for (size_t j = 0; j < 4; j++)
                to[(int64_t)i * to_step + (int64_t)(k + j)] =
                    rows[(int64_t)j * from_step + (int64_t)i];
    }
    for (; k < across; k++)
        for (size_t i = 0; i < count; i++)
            to[(int64_t)i * to_step + (int64_t)k] = from[(int64_t)k * from_step + (int64_t)i];
}

static void turn_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct turning *turning = context;
    struct md__walk walk = turning->move->walk;
    int64_t bytes = (int64_t)turning->move->bytes;
    for (size_t i = begin; i < end; i++) {
        size_t at = i % turning->blocks * TURN_BLOCK, left = turning->along.count - at;
        size_t count = left < TURN_BLOCK ? left : TURN_BLOCK;
        md__walk_seek(&walk, i / turning->blocks);
        const char *from = turning->move->from + (walk.at[0] + (int64_t)at) * bytes;
        char *to = turning->move->to + (walk.at[1] + (int64_t)at * turning->along.to) * bytes;
        if (bytes == 1)
            turn_three_bytes((const uint8_t *)from, turning->across.from, (uint8_t *)to, count);
        else
            turn_block(turning, (const uint32_t *)from, (uint32_t *)to, count);
    }
}

static struct axis take_axis(struct md__walk *walk, int axis)
{
    struct axis taken = {.count = (size_t)walk->dim[axis],
                         .from = walk->stride[0][axis],
                         .to = walk->stride[1][axis]};
    walk->rank--;
    for (int i = axis; i < walk->rank; i++) {
        walk->dim[i] = walk->dim[i + 1];
        for (int w = 0; w < 2; w++)
            walk->stride[w][i] = walk->stride[w][i + 1];
    }
    return taken;
}

/* Whether the merged walk is over such matrices; then they are moved. */
static bool turn(struct md__move *move, struct md_pool *pool)
{
    struct md__walk *walk = &move->walk;
    int along = MD_NONE, across = MD_NONE;
    for (int i = 0; i < walk->rank; i++) {
        if (walk->stride[0][i] == 1 && walk->stride[1][i] > 1)
            along = i;
        if (walk->stride[1][i] == 1 && walk->stride[0][i] > 1)
            across = i;
    }
    if (along == MD_NONE || across == MD_NONE || walk->dim[along] < 4)
        return false;
    bool pixels = move->bytes == 1 && walk->dim[across] == 3 && walk->stride[1][along] == 3;
    if (move->bytes != 4 && !pixels)
        return false;
    struct turning turning = {.move = move};
    turning.along = take_axis(walk, along);
    turning.across = take_axis(walk, across - (across > along));
    turning.blocks = (turning.along.count + TURN_BLOCK - 1) / TURN_BLOCK;
    size_t count = turning.blocks;
    for (int i = 0; i < walk->rank; i++)
        count *= (size_t)walk->dim[i];
    md__parallel(pool, count, MOVE_GRAIN_BYTES / (TURN_BLOCK * 4 * turning.across.count) + 1,
                 turn_some, &turning);
    return true;
}

/* ---- any move ---- */

void md__move_run(struct md__move *move, struct md_pool *pool)
{
    struct md__walk *walk = &move->walk;
    for (int axis = 0; axis < walk->rank; axis++)
        if (walk->dim[axis] == 0)
            return;
    md__walk_merge(walk);
    if (turn(move, pool))
        return;
    choose_inner(walk);
    struct job job = {.move = move, .inner = take_last(walk)};
    job.rows = take_last(walk);
    size_t rows = job.rows.count;
    for (int axis = 0; axis < walk->rank; axis++)
        rows *= (size_t)walk->dim[axis];
    md__parallel(pool, rows, MOVE_GRAIN_BYTES / (job.inner.count * move->bytes) + 1, move_some,
                 &job);
}

/* A move whose walk is over the output in order; the input's strides are still 0. */
static struct md__move into(const struct md_tensor *out, const struct md_tensor *in)
{
    struct md__move move = {.from = in->data, .to = out->data, .bytes = md_dtype_bytes(out->dtype)};
    md__walk_init(&move.walk, out->shape.rank, out->shape.dim);
    md__strides(&out->shape, move.walk.stride[1]);
    return move;
}

/* ---- Transpose, Expand, Slice ---------------------------------------------------------------- */

static int64_t last_of(const struct md_shape *shape)
{
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

static enum md_status transpose_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    const struct md_attr *perm = md_node_attr(call->node, "perm");
    int64_t stride[MD_RANK_MAX];
    md__strides(shape, stride);
    struct md__move move = into(&call->out[0], &call->in[0]);
    if (md__count(&call->in[0]) == 0)
        return MD_OK;
    md__strides_apart(stride, shape->rank, last_of(shape), md_kernel_pitch(call, 0, 0));
    md__strides_apart(move.walk.stride[1], shape->rank, last_of(&call->out[0].shape),
                      md_kernel_pitch(call, 1, 0));
    for (int i = 0; i < shape->rank; i++) {
        int64_t asked = perm && i < perm->count ? perm->ints[i] : shape->rank - 1 - i;
        int axis = md__axis(asked, shape->rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "bad perm");
        move.walk.stride[0][i] = stride[axis];
    }
    md__move_run(&move, call->pool);
    return MD_OK;
}

static enum md_status expand_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct md__move move = into(&call->out[0], &call->in[0]);
    md__walk_broadcast(&move.walk, 0, &call->in[0].shape);
    md__move_run(&move, call->pool);
    return MD_OK;
}

static enum md_status slice_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md__move move = into(&call->out[0], &call->in[0]);
    int64_t base = 0;
    enum md_status status = md__slice_strides(call, &base, move.walk.stride[0], err);
    if (status != MD_OK)
        return status;
    move.from += base * (int64_t)move.bytes;
    md__move_run(&move, call->pool);
    return MD_OK;
}

/* ---- Concat, Split --------------------------------------------------------------------------- */

/*
 * Seen along an axis, tensors are `outer` runs of elements. Copies the whole of `part` to or from
 * the place where it lies in the runs of `whole`, `at` elements from their start; not where it is
 * there already. Pitches: of whole and part, 0 where dense; only with the last axis.
 */
static void move_part(const struct md_kernel_call *call, const struct md_tensor *whole,
                      const struct md_tensor *part, int axis, size_t at, const size_t pitch[2],
                      bool joining)
{
    int64_t run = (int64_t)md__span(&part->shape, axis, part->shape.rank);
    int64_t whole_run = (int64_t)md__span(&whole->shape, axis, whole->shape.rank);
    int64_t dim[] = {(int64_t)md__span(&whole->shape, 0, axis), run};
    int64_t stride[] = {pitch[0] ? (int64_t)pitch[0] : whole_run,
                        pitch[1] ? (int64_t)pitch[1] : run};
    struct md__move move = {.bytes = md_dtype_bytes(whole->dtype)};
    char *place = (char *)whole->data + at * move.bytes;
    if (place == part->data)
        return;
    move.from = joining ? part->data : place;
    move.to = joining ? place : part->data;
    md__walk_init(&move.walk, 2, dim);
    for (int w = 0; w < 2; w++) {
        move.walk.stride[w][0] = stride[(w == 1) != joining];
        move.walk.stride[w][1] = 1;
    }
    md__move_run(&move, call->pool);
}

static enum md_status join_or_split(const struct md_kernel_call *call,
                                    const struct md_tensor *whole, const struct md_tensor *parts,
                                    int count, bool joining, struct md_error *err)
{
    int axis = md__axis(md_node_int(call->node, "axis", 0), whole->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", whole->shape.rank);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const size_t pitch[] = {md_kernel_pitch(call, joining ? count : 0, 0),
                                md_kernel_pitch(call, joining ? i : call->in_count + i, 0)};
        move_part(call, whole, &parts[i], axis, at, pitch, joining);
        at += md__span(&parts[i].shape, axis, parts[i].shape.rank);
    }
    return MD_OK;
}

static enum md_status concat_run(const struct md_kernel_call *call, struct md_error *err)
{
    return join_or_split(call, &call->out[0], call->in, call->in_count, true, err);
}

static enum md_status split_run(const struct md_kernel_call *call, struct md_error *err)
{
    return join_or_split(call, &call->in[0], call->out, call->out_count, false, err);
}

/* ---- copies ---------------------------------------------------------------------------------- */

struct copy {
    const char *from;
    char *to;
};

static void copy_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct copy *copy = context;
    memcpy(copy->to + begin, copy->from + begin, end - begin);
}

static enum md_status copy_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct copy copy = {.from = call->in[0].data, .to = call->out[0].data};
    size_t bytes = md__count(&call->out[0]) * md_dtype_bytes(call->out[0].dtype);
    if (copy.from != copy.to)
        md__parallel(call->pool, bytes, (size_t)4 * MOVE_GRAIN_BYTES, copy_some, &copy);
    return MD_OK;
}

const struct md_kernel md__copy = {.run = copy_run, .in_place = true};
const struct md_kernel md__transpose = {.run = transpose_run, .pitched = MD_PITCHED_EVERYWHERE};
const struct md_kernel md__expand = {.run = expand_run};
const struct md_kernel md__slice = {.run = slice_run};
const struct md_kernel md__concat = {.run = concat_run, .pitched = MD_PITCHED_EVERYWHERE};
const struct md_kernel md__split = {.run = split_run, .pitched = MD_PITCHED_EVERYWHERE};
