/* Formulas as JSON, worked out where they are written; see lazy.h. */
#include "base/json_out.h"
#include "script/lazy_program.h"

enum {
    ALIGN = 64,  /* a vector never crosses a line of the cache */
    PIECE = 256, /* values worked out at a time */
};

/* Where the leaves of a formula are for one value of its first axes. */
struct reader {
    const struct md__program *program;
    const float *data[MD__LEAVES_MAX];
    int decimals;
    struct md_buffer *out;
};

/* `count` values along the last axis (or the one there is), with commas between. */
static void encode_values(const struct reader *reader, int64_t count)
{
    _Alignas(ALIGN) float registers[MD__REGISTERS_MAX * PIECE], values[PIECE];
    struct md_plane leaves[MD__LEAVES_MAX];
    int8_t picks[MD__STEPS_MAX];
    int rank = reader->program->shape.rank;
    for (int64_t done = 0; done < count && !reader->out->failed; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        for (int k = 0; k < reader->program->leaf_count; k++) {
            int64_t stride = rank > 0 ? reader->program->leaves[k].stride[rank - 1] : 0;
            leaves[k] = (struct md_plane){reader->data[k] + done * stride, 0, (ptrdiff_t)stride};
        }
        md__program_pick(reader->program, leaves, picks);
        md__program_run(reader->program, leaves, picks, 1, part, registers, PIECE, values);
        if (done > 0)
            md_buffer_append(reader->out, ",", 1);
        md_json_f32s(reader->out, values, (size_t)part, reader->decimals);
    }
}

static void move(struct reader *reader, int axis, int64_t by)
{
    for (int k = 0; k < reader->program->leaf_count; k++)
        reader->data[k] += by * reader->program->leaves[k].stride[axis];
}

static void encode_axis(struct reader *reader, int axis)
{
    const struct md_shape *shape = &reader->program->shape;
    int64_t count = axis < shape->rank ? shape->dim[axis] : 1;
    if (axis >= shape->rank) {
        encode_values(reader, 1);
        return;
    }
    md_buffer_append(reader->out, "[", 1);
    if (axis == shape->rank - 1)
        encode_values(reader, count);
    for (int64_t i = 0; axis < shape->rank - 1 && i < count && !reader->out->failed; i++) {
        if (i > 0)
            md_buffer_append(reader->out, ",", 1);
        encode_axis(reader, axis + 1);
        move(reader, axis, 1);
    }
    if (axis < shape->rank - 1)
        move(reader, axis, -count);
    md_buffer_append(reader->out, "]", 1);
}

void md__lazy_encode(const struct md__lazy *lazy, int axes, size_t index, int decimals,
                     struct md_buffer *out)
{
    struct reader reader = {.program = &lazy->program, .decimals = decimals, .out = out};
    const struct md_shape *shape = &lazy->program.shape;
    for (int k = 0; k < lazy->program.leaf_count; k++)
        reader.data[k] = md__leaf_data(&lazy->program.leaves[k]);
    for (int axis = axes - 1; axis >= 0; axis--) {
        move(&reader, axis, (int64_t)(index % (size_t)shape->dim[axis]));
        index /= (size_t)shape->dim[axis];
    }
    encode_axis(&reader, axes);
}
