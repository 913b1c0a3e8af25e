/* Comparisons of unit.h that are too long for a macro. */
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
