/*
 * One plane of a formula's values, rows x count, step by step into registers; see lazy_program.h.
 */
#include <math.h>
#include <string.h>

#include "script/lazy_program.h"

/* Whether rows of `count` values follow each other without a break, in all operands. */
static bool is_one_row(const struct md_plane *in, int operands, ptrdiff_t count)
{
    bool is_one = true;
    for (int k = 0; k < operands; k++)
        is_one &= in[k].row_stride == in[k].stride * count;
    return is_one;
}

/* Which operand a `where` picks on the whole plane, as its condition stands still; 0: it depends.
 */
static int picked(const struct md__step *step, const struct md_plane *leaves)
{
    if (step->op != MD_VECTOR_where || step->in[0] >= 0)
        return 0;
    const struct md_plane *condition = &leaves[~step->in[0]];
    if (condition->row_stride != 0 || condition->stride != 0)
        return 0;
    return *condition->data != 0.0f && !isnan(*condition->data) ? 1 : 2;
}

enum { NOT_NEEDED = -1 };

void md__program_pick(const struct md__program *program, const struct md_plane *leaves,
                      int8_t *picks)
{
    int last = program->step_count - 1;
    if (last < 0)
        return;
    memset(picks, NOT_NEEDED, (size_t)program->step_count);
    picks[last] = 0;
    for (int i = last; i >= 0; i--) {
        const struct md__step *step = &program->steps[i];
        if (picks[i] == NOT_NEEDED)
            continue;
        picks[i] = (int8_t)picked(step, leaves);
        for (int k = 0; k < step->operands; k++)
            if (step->in[k] >= 0 && (picks[i] == 0 || picks[i] == k))
                picks[step->in[k]] = 0;
    }
}

const struct md_plane *md__program_leaf(const struct md__program *program,
                                        const struct md_plane *leaves, const int8_t *picks)
{
    int value = program->step_count - 1;
    while (value >= 0 && picks[value] > 0)
        value = program->steps[value].in[(int)picks[value]];
    return value < 0 ? &leaves[~value] : NULL;
}

void md__program_run(const struct md__program *program, const struct md_plane *leaves,
                     const int8_t *picks, ptrdiff_t rows, ptrdiff_t count, float *registers,
                     size_t size, float *out)
{
    struct md_plane values[MD__STEPS_MAX];
    if (program->step_count == 0) {
        md_vector_body_of(MD_VECTOR_copy)(out, leaves, rows, count);
        return;
    }
    for (int i = 0; i < program->step_count; i++) {
        const struct md__step *step = &program->steps[i];
        struct md_plane in[MD_VECTOR_OPERANDS_MAX];
        bool is_last = i == program->step_count - 1;
        float *to = is_last ? out : registers + step->reg * size;
        if (picks[i] == NOT_NEEDED)
            continue;
        for (int k = 0; k < step->operands; k++)
            in[k] = step->in[k] < 0 ? leaves[~step->in[k]] : values[step->in[k]];
        values[i] = (struct md_plane){to, count, 1};
        if (picks[i] > 0 && !is_last)
            values[i] = in[(int)picks[i]];
        else if (picks[i] > 0)
            md_vector_body_of(MD_VECTOR_copy)(to, &in[(int)picks[i]], rows, count);
        else if (is_one_row(in, step->operands, count))
            step->body(to, in, 1, rows * count);
        else
            step->body(to, in, rows, count);
    }
}
