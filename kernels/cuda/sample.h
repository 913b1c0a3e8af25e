/*
 * The launchers of sample.cu, under the rules of launch.h.
 */
#ifndef MD_KERNELS_CUDA_SAMPLE_H
#define MD_KERNELS_CUDA_SAMPLE_H

#include "kernels/cuda/launch.h"

#ifdef __cplusplus
extern "C" {
#endif

enum md__cuda_sampler { MD__CUDA_SAMPLE_LINEAR, MD__CUDA_SAMPLE_NEAREST, MD__CUDA_SAMPLE_CUBIC };
enum md__cuda_border { MD__CUDA_BORDER_ZEROS, MD__CUDA_BORDER_EDGE, MD__CUDA_BORDER_REFLECT };

/* y [batch, channels, places] of x [batch, channels, length..] at grid [batch, places, axes], whose
 * numbers are shares of the image in [-1, 1], the last axis first. */
struct md__cuda_sampling {
    int storage, axes;
    enum md__cuda_sampler method;
    enum md__cuda_border border;
    bool corners; /* -1 and 1 are centres of the outermost elements, not their edges */
    int64_t batch, channels, places, length[3];
    const void *x, *grid;
    void *y;
};
int md__cuda_sample(md__cuda_stream stream, const struct md__cuda_sampling *sampling);

/* y [regions, channels, cells..] of x [images, channels, length..]; regions [.., 4] are x1 y1 x2
 * y2, images their image. A cell takes samples_max^2 samples at most: more, or an image that is not
 * there, are MD__CUDA_OUTSIDE. */
struct md__cuda_regions {
    int storage;
    bool largest, half_pixel;
    int64_t count, images, channels, length[2], cells[2], ratio, samples_max;
    double scale;
    const void *x, *regions;
    const int64_t *image_of;
    void *y;
};
int md__cuda_region_align(md__cuda_stream stream, const struct md__cuda_regions *regions);

#ifdef __cplusplus
}
#endif
#endif
