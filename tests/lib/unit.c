/* What unit.h declares: comparisons that are too long for a macro, and random numbers. */
#include "unit.h"

#include <math.h>
#include <stdbool.h>

static bool close_enough(double actual, double expected, double absolute, double relative)
{
    if (actual == expected || (isnan(actual) && isnan(expected)))
        return true;
    return fabs(actual - expected) <= absolute + relative * fabs(expected) && isfinite(expected);
}

size_t unit_floats_differ_at(const float *actual, const float *expected, size_t count,
                             double absolute, double relative)
{
    size_t i = 0;
    while (i < count && close_enough(actual[i], expected[i], absolute, relative))
        i++;
    return i;
}

uint64_t unit_random(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717u;
}
