/*
 * Launches: noted, so that tests can look at their geometry, and refused where no GPU takes it.
 */
#include "kernels/cuda/device.cuh"

static thread_local struct md__cuda_launch last;
static thread_local int64_t launches;
static thread_local bool only_note;

void md__cuda_launch_only_note(bool only)
{
    only_note = only;
}

bool md__launch_is_noted_only(void)
{
    return only_note;
}

bool md__launch_note(const char *kernel, dim3 grid, dim3 block, size_t shared_bytes)
{
    last = {kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes};
    launches++;
    return grid.x && grid.y && grid.z && block.x && block.y && block.z && grid.x <= 0x7fffffffu &&
           grid.y <= 65535 && grid.z <= 65535 && block.z <= 64 &&
           (uint64_t)block.x * block.y * block.z <= 1024 && shared_bytes <= (227u << 10);
}

struct md__cuda_launch md__cuda_launch_last(void)
{
    return last;
}

int64_t md__cuda_launch_count(void)
{
    return launches;
}

#ifdef __CUDACC__
static md__notice_unit *units;

md__notice_unit::md__notice_unit(int (*set_)(unsigned *words)) : set(set_), next(units)
{
    units = this;
}

int md__cuda_notices_at(unsigned *words)
{
    int error = 0;
    for (const md__notice_unit *unit = units; unit && !error; unit = unit->next)
        error = unit->set(words);
    return error;
}
#else
int md__cuda_notices_at(unsigned *words)
{
    return words ? MD__CUDA_REFUSED : 0;
}
#endif

const char *md__cuda_error_text(int error)
{
    if (error == MD__CUDA_REFUSED)
        return "a kernel got what it does not do";
#ifdef __CUDACC__
    return cudaGetErrorString((cudaError_t)error);
#else
    return error == 9     ? "invalid configuration argument"
           : error == 719 ? "unspecified launch failure"
                          : "unknown error";
#endif
}
