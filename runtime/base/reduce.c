/* What is kept of runs while they are reduced, and what they come to; see reduce.h. */
#include "base/reduce.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/isa/reduce.h"
#include "base/vectors.h"

enum { LANES_MAX = 16 };

static enum md__fold fold_of(const struct md_reducing *reducing)
{
    switch (reducing->what.op) {
    case MD_REDUCE_amax:
    case MD_REDUCE_nanmax:
        return MD__FOLD_LARGEST;
    case MD_REDUCE_amin:
    case MD_REDUCE_nanmin:
        return MD__FOLD_SMALLEST;
    case MD_REDUCE_nanlast:
        return MD__FOLD_LAST;
    case MD_REDUCE_slope:
        return MD__FOLD_LINE;
    case MD_REDUCE_count_finite:
        return MD__FOLD_FINITE;
    case MD_REDUCE_first_at_least:
        return MD__FOLD_FIRST;
    default:
        return reducing->again ? MD__FOLD_SQUARES : MD__FOLD_VALUES;
    }
}

static bool is_extreme(const struct md_reducing *reducing)
{
    enum md__fold fold = fold_of(reducing);
    return fold == MD__FOLD_LARGEST || fold == MD__FOLD_SMALLEST;
}

void md_reduce_begin(struct md_reducing *reducing, const struct md_reduction *what, ptrdiff_t runs)
{
    assert(runs <= MD_REDUCE_RUNS_MAX);
    reducing->what = *what;
    reducing->runs = runs;
    reducing->count = 0;
    reducing->again = false;
    ptrdiff_t lanes = (runs + LANES_MAX - 1) / LANES_MAX * LANES_MAX; /* that somebody reads */
    for (int k = 0; k < MD_REDUCE_SUMS && !is_extreme(reducing); k++)
        memset(reducing->sums[k], 0, (size_t)lanes * sizeof *reducing->sums[k]);
    if (!is_extreme(reducing))
        return;
    float worst = fold_of(reducing) == MD__FOLD_LARGEST ? -INFINITY : INFINITY;
    for (ptrdiff_t run = 0; run < lanes; run++) {
        reducing->extreme.best[run] = worst;
        reducing->extreme.missing[run] = 0;
    }
}

void md_reduce_add(struct md_reducing *reducing, const struct md_runs *values)
{
    assert(values->runs == reducing->runs);
    md__folds()[fold_of(reducing)](reducing, values);
    reducing->count += values->count;
}

bool md_reduce_again(struct md_reducing *reducing)
{
    bool is_deviation = reducing->what.op == MD_REDUCE_std || reducing->what.op == MD_REDUCE_nanstd;
    if (!is_deviation || reducing->again)
        return false;
    for (ptrdiff_t run = 0; run < reducing->runs; run++) {
        double known = (double)reducing->count - reducing->sums[MD__FOLD_MISSING][run];
        reducing->sums[MD__FOLD_MEAN][run] = reducing->sums[MD__FOLD_RESULT][run] / known;
        reducing->sums[MD__FOLD_RESULT][run] = 0;
    }
    reducing->count = 0;
    reducing->again = true;
    return true;
}

static float slope_of(const struct md_reducing *reducing, ptrdiff_t run, double known)
{
    double x = reducing->sums[MD__FOLD_X][run], y = reducing->sums[MD__FOLD_RESULT][run];
    double xx = reducing->sums[MD__FOLD_XX][run], xy = reducing->sums[MD__FOLD_XY][run];
    return known < 2 ? NAN : (float)((known * xy - x * y) / (known * xx - x * x));
}

static float deviation_of(double squares, double known, double ddof)
{
    return known <= ddof || known == 0 ? NAN : (float)sqrt(squares / (known - ddof));
}

/* What a run has come to, of whose values so many are known. */
static float result_of(const struct md_reducing *reducing, ptrdiff_t run, double known)
{
    double result = reducing->sums[MD__FOLD_RESULT][run];
    switch (reducing->what.op) {
    case MD_REDUCE_nanmean:
        return (float)(result / known);
    case MD_REDUCE_std:
    case MD_REDUCE_nanstd:
        return deviation_of(result, known, reducing->what.option);
    case MD_REDUCE_nanlast:
        return known == 0 ? NAN : (float)result;
    case MD_REDUCE_slope:
        return slope_of(reducing, run, known);
    default:
        return (float)result;
    }
}

/* Sums, or means: what most ask for. */
static void end_plain(const struct md_reducing *reducing, bool is_mean, float *out,
                      ptrdiff_t stride)
{
    const double *sums = reducing->sums[MD__FOLD_RESULT];
    const double *missing = reducing->sums[MD__FOLD_MISSING];
    double divisor = is_mean ? (double)reducing->count : 1;
    for (ptrdiff_t run = 0; run < reducing->runs; run++)
        out[run * stride] = missing[run] > 0 ? NAN : (float)(sums[run] / divisor);
}

static void end_sums(const struct md_reducing *reducing, float *out, ptrdiff_t stride)
{
    int op = reducing->what.op;
    if (op == MD_REDUCE_sum || op == MD_REDUCE_mean) {
        end_plain(reducing, op == MD_REDUCE_mean, out, stride);
        return;
    }
    for (ptrdiff_t run = 0; run < reducing->runs; run++) {
        double missing = reducing->sums[MD__FOLD_MISSING][run];
        out[run * stride] = op == MD_REDUCE_std && missing > 0
                                ? NAN
                                : result_of(reducing, run, (double)reducing->count - missing);
    }
}

static void end_extremes(const struct md_reducing *reducing, float *out, ptrdiff_t stride)
{
    int op = reducing->what.op;
    bool passes_on = op == MD_REDUCE_amax || op == MD_REDUCE_amin;
    /* So many may be missing. */
    int32_t most = reducing->count > 0 ? passes_on ? 0 : (int32_t)(reducing->count - 1) : -1;
    for (ptrdiff_t run = 0; run < reducing->runs; run++) {
        float best = reducing->extreme.best[run] + 0.0f; /* -0 becomes 0 */
        out[run * stride] = reducing->extreme.missing[run] <= most ? best : NAN;
    }
}

void md_reduce_end(const struct md_reducing *reducing, float *out, ptrdiff_t stride)
{
    if (is_extreme(reducing))
        end_extremes(reducing, out, stride);
    else
        end_sums(reducing, out, stride);
}

void md_reduce(const struct md_reduction *what, const struct md_runs *values, float *out)
{
    struct md_reducing reducing;
    md_reduce_begin(&reducing, what, values->runs);
    do
        md_reduce_add(&reducing, values);
    while (md_reduce_again(&reducing));
    md_reduce_end(&reducing, out, 1);
}
