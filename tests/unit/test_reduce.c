/*
 * Reductions: what they come to is what a plain loop over each run finds, however the runs lie in
 * memory and are cut into pieces, and every instruction set that this machine has gives the same
 * bits.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/isa/vectors.h"
#include "unit.h"

enum { OPS = MD_REDUCE_first_at_least + 1, RUNS_MAX = 37, COUNT_MAX = 21 };

static float values[RUNS_MAX * COUNT_MAX * 2];

/* Numbers of all sizes; in some runs one is missing, others have none at all or infinite ones. */
static void fill(ptrdiff_t runs, ptrdiff_t run_stride, ptrdiff_t count, ptrdiff_t stride)
{
    uint32_t seed = 7;
    for (ptrdiff_t run = 0; run < runs; run++)
        for (ptrdiff_t i = 0; i < count; i++) {
            seed = seed * 1664525 + 1013904223;
            float value = (float)((int32_t)seed / 65536) / (float)(1 << (seed >> 9) % 12);
            bool missing = run % 5 == 1 ? i == run % 7 : run % 5 == 2;
            bool infinite = run % 5 == 3 && i % 4 == 3;
            values[run * run_stride + i * stride] = missing    ? NAN
                                                    : infinite ? copysignf(INFINITY, value)
                                                               : value;
        }
}

struct moments {
    double count, known, sum, x, xx, xy, best, finite, last;
    ptrdiff_t first;
};

static struct moments moments_of(const struct md_reduction *what, const float *run, ptrdiff_t count,
                                 ptrdiff_t stride)
{
    struct moments m = {.count = (double)count, .best = NAN, .last = NAN};
    double sign = what->op == MD_REDUCE_amin || what->op == MD_REDUCE_nanmin ? -1 : 1;
    for (ptrdiff_t i = 0; i < count; i++) {
        double value = (double)run[i * stride], x = (double)i;
        m.finite += isfinite(value) != 0;
        if (isnan(value))
            continue;
        m.last = value;
        m.known += 1, m.sum += value, m.x += x, m.xx += x * x, m.xy += x * value;
        m.best = isnan(m.best) || sign * value > sign * m.best ? value : m.best;
        m.first = m.first == 0 && value >= what->option ? i + 1 : m.first;
    }
    return m;
}

static double deviation(const struct moments *m, const float *run, ptrdiff_t stride, double ddof)
{
    double mean = m->sum / m->known, squares = 0;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)m->count; i++) {
        double apart = (double)run[i * stride] - mean;
        volatile double square = apart * apart;
        squares += isnan(apart) ? 0 : square;
    }
    return m->known <= ddof || m->known == 0 ? (double)NAN : sqrt(squares / (m->known - ddof));
}

static double expected(const struct md_reduction *what, const float *run, ptrdiff_t count,
                       ptrdiff_t stride)
{
    struct moments m = moments_of(what, run, count, stride);
    bool misses = m.known < m.count;
    switch (what->op) {
    case MD_REDUCE_sum:
        return misses ? (double)NAN : m.sum;
    case MD_REDUCE_nansum:
        return m.sum;
    case MD_REDUCE_mean:
        return misses ? (double)NAN : m.sum / m.known;
    case MD_REDUCE_nanmean:
        return m.sum / m.known;
    case MD_REDUCE_std:
        return misses ? (double)NAN : deviation(&m, run, stride, what->option);
    case MD_REDUCE_nanstd:
        return deviation(&m, run, stride, what->option);
    case MD_REDUCE_amax:
    case MD_REDUCE_amin:
        return misses ? (double)NAN : m.best;
    case MD_REDUCE_nanmax:
    case MD_REDUCE_nanmin:
        return m.best;
    case MD_REDUCE_nanlast:
        return m.last;
    case MD_REDUCE_slope:
        return m.known < 2 ? (double)NAN
                           : (m.known * m.xy - m.x * m.sum) / (m.known * m.xx - m.x * m.x);
    case MD_REDUCE_count_finite:
        return m.finite;
    default:
        return (double)m.first;
    }
}

/* All NaN are the same: which payload comes out of two of them is the processor's choice. */
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check(const struct md_reduction *what, const struct md_runs *all, ptrdiff_t piece)
{
    struct md_reducing reducing;
    float out[RUNS_MAX * 3];
    md_reduce_begin(&reducing, what, all->runs);
    do
        for (ptrdiff_t done = 0; done < all->count; done += piece) {
            struct md_runs some = *all;
            some.data += done * all->stride;
            some.count = all->count - done < piece ? all->count - done : piece;
            md_reduce_add(&reducing, &some);
        }
    while (md_reduce_again(&reducing));
    md_reduce_end(&reducing, out, 3);
    for (ptrdiff_t run = 0; run < all->runs; run++) {
        double wanted = expected(what, all->data + run * all->run_stride, all->count, all->stride);
        if (!same(out[run * 3], (float)wanted))
            fail_msg("reduction %d of run %d of %d, %d values by %d: %a, not %a", (int)what->op,
                     (int)run, (int)all->runs, (int)all->count, (int)piece, (double)out[run * 3],
                     wanted);
    }
}

static void runs_come_to_what_a_loop_finds(void **state)
{
    (void)state;
    for (ptrdiff_t runs = 1; runs <= RUNS_MAX; runs += runs < 9 ? 1 : 7)
        for (ptrdiff_t count = 0; count <= COUNT_MAX; count++)
            for (int layout = 0; layout < 3; layout++) {
                struct md_runs all = {values, runs, layout == 0 ? 1 : count, count,
                                      layout == 0 ? runs : 1};
                if (layout == 2)
                    all = (struct md_runs){values, runs, count * 2, count, 2};
                fill(runs, all.run_stride, count, all.stride);
                for (int op = 0; op < OPS; op++) {
                    struct md_reduction what = {op, op % 2};
                    what.option = op == MD_REDUCE_first_at_least ? 30 : what.option;
                    check(&what, &all, COUNT_MAX + 1);
                    check(&what, &all, 1 + count / 3);
                }
            }
}

/* What shows all that a fold has kept, whichever values are missing. */
static const int showing[MD__FOLD_COUNT] = {
    [MD__FOLD_VALUES] = MD_REDUCE_nanmean,       [MD__FOLD_SQUARES] = MD_REDUCE_nanstd,
    [MD__FOLD_LAST] = MD_REDUCE_nanlast,         [MD__FOLD_LINE] = MD_REDUCE_slope,
    [MD__FOLD_FINITE] = MD_REDUCE_count_finite,  [MD__FOLD_FIRST] = MD_REDUCE_first_at_least,
    [MD__FOLD_LARGEST] = MD_REDUCE_nanmax,       [MD__FOLD_SMALLEST] = MD_REDUCE_nanmin,
};

/* Of all tables the same, whichever way the runs lie. */
static void agree(const struct md__vector_table *const *tables, int count, int fold,
                  const struct md_runs *all)
{
    struct md_reduction what = {showing[fold], 2};
    struct md_reducing reducing;
    float first[RUNS_MAX], other[RUNS_MAX];
    for (int table = 0; table < count; table++) {
        float *out = table == 0 ? first : other;
        md_reduce_begin(&reducing, &what, all->runs);
        tables[table]->folds[fold](&reducing, all);
        reducing.count = all->count;
        md_reduce_end(&reducing, out, 1);
        for (ptrdiff_t run = 0; run < all->runs; run++)
            if (!same(first[run], out[run]))
                fail_msg("fold %d, table %d, run %d of %d: %a, not %a", fold, table, (int)run,
                         (int)all->runs, (double)out[run], (double)first[run]);
    }
}

static void all_instruction_sets_agree(void **state)
{
    const struct md__vector_table *tables[MD__VECTOR_TABLES_MAX];
    int count = md__vector_tables(tables);
    (void)state;
    for (int fold = 0; fold < MD__FOLD_COUNT; fold++)
        for (ptrdiff_t runs = 1; runs <= RUNS_MAX; runs++) {
            struct md_runs lanes = {values, runs, 1, COUNT_MAX, runs};
            struct md_runs rows = {values, runs, COUNT_MAX, COUNT_MAX, 1};
            fill(runs, 1, COUNT_MAX, runs);
            agree(tables, count, fold, &lanes);
            fill(runs, COUNT_MAX, COUNT_MAX, 1);
            agree(tables, count, fold, &rows);
        }
}

static void zeros_come_out_as_one_zero(void **state)
{
    (void)state;
    for (int op = MD_REDUCE_amax; op <= MD_REDUCE_nanmin; op++)
        for (ptrdiff_t at = 0; at < COUNT_MAX; at++) {
            struct md_reduction what = {op, 0};
            struct md_runs row = {values, 1, 1, COUNT_MAX, 1};
            float out;
            for (ptrdiff_t i = 0; i < COUNT_MAX; i++)
                values[i] = i == at ? 0.0f : -0.0f;
            md_reduce(&what, &row, &out);
            assert_true(same(out, 0.0f));
        }
}

static void one_long_run_is_like_the_others(void **state)
{
    static const float odd[] = {1e30f, -1e30f, NAN};
    (void)state;
    for (int count = 1; count <= 700; count += 13)
        for (int i = 0; i < 3; i++) {
            struct md_reduction largest = {MD_REDUCE_amax, 0}, smallest = {MD_REDUCE_nanmin, 0};
            struct md_runs row = {values, 1, 1, count, 1};
            for (int k = 0; k < count; k++)
                values[k] = (float)(k * 37 % 101);
            values[count / 2] = odd[i];
            check(&largest, &row, count);
            check(&smallest, &row, 1 + count / 2);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(runs_come_to_what_a_loop_finds),
                                       cmocka_unit_test(all_instruction_sets_agree),
                                       cmocka_unit_test(zeros_come_out_as_one_zero),
                                       cmocka_unit_test(one_long_run_is_like_the_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
