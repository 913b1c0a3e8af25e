/*
 * Sums of products through two maps, for what of Einsum is no matrix product: `kept` leads to the
 * first term of a result, `inside` from there to all. A block takes a long sum where there are few,
 * a thread a short one.
 */
#include "kernels/cuda/map.cuh"

#define THREADS 128
#define LONG    256 /* terms that are worth a block */

/* The terms of a result from `first` on, every `step`th. */
template <class T>
MD__DEVICE float terms(const struct md__cuda_contraction &p, int64_t result, int64_t first,
                       int64_t step)
{
    int64_t kept[4], inside[4];
    float sum = 0;
    md__locate(p.kept, result, kept);
    for (int64_t i = first; i < p.inside.count; i += step) {
        float product = 1;
        md__locate(p.inside, i, inside);
        for (int k = 0; k < p.operands; k++)
            product *= md__load((const T *)p.x[k] + kept[k] + inside[k]);
        sum += product;
    }
    return sum;
}

template <class T> static __global__ void contract_block_kernel(struct md__cuda_contraction p)
{
    for (int64_t r = blockIdx.x; r < p.kept.count; r += gridDim.x) {
        float sum = md__block_all(terms<T>(p, r, threadIdx.x, blockDim.x), md__plus());
        if (threadIdx.x == 0)
            md__store((T *)p.y + r, sum);
    }
}

template <class T> static __global__ void contract_thread_kernel(struct md__cuda_contraction p)
{
    for (int64_t r = md__first(); r < p.kept.count; r += md__stride())
        md__store((T *)p.y + r, terms<T>(p, r, 0, 1));
}

int md__cuda_contract(md__cuda_stream stream, const struct md__cuda_contraction *p)
{
    if (p->kept.count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, {
        if (p->inside.count >= LONG)
            return md__launch(stream, "contract_block", contract_block_kernel<T>,
                              md__blocks(p->kept.count, 1), dim3(THREADS), 0, *p);
        return md__launch(stream, "contract_thread", contract_thread_kernel<T>,
                          md__blocks(p->kept.count, THREADS), dim3(THREADS), 0, *p);
    })
}
