/*
 * Reference kernels that change the dtype: Cast, CastLike, BitCast. The shape rules read what to
 * cast to; a kernel sees it as its output's dtype.
 *
 * Floats become integers by truncation (out of range, where the standard leaves it open: saturated
 * to 64 bits, then the low bits), integers keep their low bits, every float target is rounded once.
 */
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

/* uint64 above int64's range; everything else goes straight. */
static void cast_wide(const struct md_tensor *out, size_t at, size_t count, const int64_t *n)
{
    double x[MD__BLOCK];
    for (size_t i = 0; i < count; i++)
        x[i] = out->dtype == MD_F32 ? (double)(float)(uint64_t)n[i] : (double)(uint64_t)n[i];
    md__store_floats(out, at, 1, count, x);
}

static void cast_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct md_kernel_call *call = context;
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        double x[MD__BLOCK];
        int64_t n[MD__BLOCK];
        if (md__dtype_is_float(in->dtype)) {
            md__load_floats(in, at, 1, count, x);
            md__store_floats(out, at, 1, count, x);
            continue;
        }
        md__load_ints(in, at, 1, count, n);
        if (in->dtype == MD_U64 && md__dtype_is_float(out->dtype))
            cast_wide(out, at, count, n);
        else
            md__store_ints(out, at, 1, count, n);
    }
}

/* Not in place while sizes differ, which the planner excludes; a block is read before it is
 * written. */
static enum md_status cast_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct md_kernel_call shared = *call;
    md__parallel(call->pool, md__count(&call->out[0]), 16384, cast_some, &shared);
    return MD_OK;
}

static enum md_status bit_cast_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *out = &call->out[0];
    memmove(out->data, call->in[0].data, md__count(out) * md_dtype_bytes(out->dtype));
    return MD_OK;
}

const struct md_kernel md__ref_cast = {.run = cast_run, .in_place = true};
const struct md_kernel md__ref_bit_cast = {.run = bit_cast_run, .in_place = true};
