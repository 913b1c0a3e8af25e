/*
 * Elementwise arithmetic: every instruction set that this machine has gives the same bits, whatever
 * the strides and the length of a row. What the operators mean is tested in lua_tensors.lua.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/isa/vectors.h"
#include "unit.h"

enum { ROWS = 5, COUNT_MAX = 37, VALUES = 4096 };

static float values[MD_VECTOR_OPERANDS_MAX][VALUES];

/* Numbers of all sizes, ties of rounding, and what is no number. */
static void fill(void)
{
    static const float odd[] = {0.0f,  -0.0f,    0.5f,      -0.5f, 2.5f,        -1.25f, 8388607.5f,
                                1e30f, INFINITY, -INFINITY, NAN,   16777216.0f, 1e-40f};
    uint32_t seed = 1;
    for (int k = 0; k < MD_VECTOR_OPERANDS_MAX; k++)
        for (int i = 0; i < VALUES; i++) {
            seed = seed * 1664525 + 1013904223;
            unsigned pick = (seed >> 8) % 64;
            values[k][i] = pick < sizeof odd / sizeof *odd
                               ? odd[pick]
                               : (float)((int32_t)seed / 65536) / (1 << pick % 8);
        }
}

/* All NaN are the same: which payload comes out of two of them is the processor's choice. */
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check(int op, const struct md__vector_table *tables[], int count,
                  const struct md_plane *in, int length)
{
    float expected[ROWS * COUNT_MAX], out[ROWS * COUNT_MAX];
    tables[0]->bodies[op](expected, in, ROWS, length);
    for (int table = 1; table < count; table++) {
        tables[table]->bodies[op](out, in, ROWS, length);
        for (int i = 0; i < ROWS * length; i++)
            if (!same(out[i], expected[i]))
                fail_msg("operator %d, table %d, value %d of rows of %d: %a, not %a", op, table, i,
                         length, (double)out[i], (double)expected[i]);
    }
}

static void all_instruction_sets_agree(void **state)
{
    const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX];
    int count = md__vector_tables(tables);
    (void)state;
    fill();
    for (int op = 0; op < MD_VECTOR_COUNT; op++)
        for (int length = 0; length <= COUNT_MAX; length++)
            for (int strides = 0; strides < 27; strides++) {
                struct md_plane in[MD_VECTOR_OPERANDS_MAX] = {
                    {values[0], 41, strides % 3},
                    {values[1], strides % 2 ? 0 : 41, strides / 3 % 3},
                    {values[2] + 7, 97, strides / 9}};
                check(op, tables, count, in, length);
            }
}

/* Worked out one value at a time. */
static void fill_columns(const struct md_beside *beside, float *out)
{
    for (int k = 0; k < beside->count; k++) {
        float last = beside->last[k];
        for (int64_t step = 0; step < beside->steps; step++) {
            float value = beside->from[step * beside->step_stride + k];
            value = isnan(value) ? last : value;
            last = beside->forward ? value : last;
            value = (value - beside->sub[k]) / beside->div[k];
            if (step >= beside->skip)
                out[(step - beside->skip) * beside->out_stride + k] =
                    isnan(value) ? beside->absent[k] : value;
        }
    }
}

static void columns_side_by_side_agree(void **state)
{
    enum { STEPS = 50, STRIDE = 41 };
    const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX];
    int table_count = md__vector_tables(tables);
    (void)state;
    fill();
    for (int count = 1; count <= COUNT_MAX; count++)
        for (int kind = 0; kind < 4; kind++) {
            float expected[STEPS * COUNT_MAX] = {0};
            struct md_beside beside = {.from = values[0],
                                       .step_stride = STRIDE,
                                       .out_stride = COUNT_MAX,
                                       .steps = STEPS,
                                       .skip = kind < 2 ? 0 : 7,
                                       .count = count,
                                       .forward = kind % 2 != 0,
                                       .last = values[1],
                                       .sub = values[1] + 40,
                                       .div = values[1] + 80,
                                       .absent = values[2]};
            fill_columns(&beside, expected);
            for (int table = 0; table < table_count; table++) {
                float out[STEPS * COUNT_MAX] = {0}; /* nothing is written beside the columns */
                tables[table]->beside(&beside, out);
                for (int i = 0; i < STEPS * COUNT_MAX; i++)
                    if (!same(out[i], expected[i]))
                        fail_msg("table %d, %d columns, value %d: %a, not %a", table, count, i,
                                 (double)out[i], (double)expected[i]);
            }
        }
}

static void rounding_is_half_away_from_zero(void **state)
{
    static const struct {
        float value, scale, rounded;
    } cases[] = {{0.5f, 1, 1},       {1.5f, 1, 2},          {2.5f, 1, 3},
                 {-2.5f, 1, -3},     {0.25f, 10, 0.3f},     {-0.0f, 1, -0.0f},
                 {1e30f, 10, 1e30f}, {0.049999997f, 10, 0}, {8388607.5f, 1, 8388608},
                 {-0.4f, 1, -0.0f}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct md_plane in[] = {{&cases[i].value, 0, 0}, {&cases[i].scale, 0, 0}};
        float out;
        md_vector_body_of(MD_VECTOR_round)(&out, in, 1, 1);
        assert_true(same(out, cases[i].rounded));
    }
}

static void extremes_are_found_wherever_they_are(void **state)
{
    const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX];
    int count = md__vector_tables(tables);
    float line[COUNT_MAX * 3];
    (void)state;
    for (int table = 0; table < count; table++)
        for (int length = 0; length <= (int)(sizeof line / sizeof *line); length++) {
            for (int i = 0; i < length; i++)
                line[i] = -5 - (float)i;
            for (int at = 0; at < length; at++) {
                float before = line[at];
                line[at] = 7;
                assert_true(tables[table]->extreme(line, length, 1) == 7);
                line[at] = -700;
                assert_true(tables[table]->extreme(line, length, -1) == -700);
                line[at] = NAN;
                assert_true(isnan(tables[table]->extreme(line, length, 1)));
                assert_true(isnan(tables[table]->extreme(line, length, -1)));
                line[at] = before;
            }
            if (length == 0)
                assert_true(tables[table]->extreme(line, 0, 1) == -INFINITY);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_instruction_sets_agree),
                                       cmocka_unit_test(columns_side_by_side_agree),
                                       cmocka_unit_test(rounding_is_half_away_from_zero),
                                       cmocka_unit_test(extremes_are_found_wherever_they_are)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
