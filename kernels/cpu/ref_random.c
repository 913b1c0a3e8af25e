/*
 * Reference kernels of random tensors: RandomUniform and RandomNormal, each also like another
 * tensor, Bernoulli, Multinomial.
 *
 * Every number follows from a seed, the count of runs before, and its place: so runs differ, but a
 * model loaded again repeats them, on every machine, with any number of threads. The seed is the
 * attribute "seed", or without one the node's name; what is prepared of a node counts its runs. The
 * standard asks for no particular generator; ours mixes a counter by SplitMix64's finaliser
 * (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

static uint64_t mixed(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t seed_of(const struct md_node *node)
{
    uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);
    if (md_node_attr(node, "seed")) {
        double given = md_node_float(node, "seed", 0);
        memcpy(&seed, &given, sizeof seed);
        return mixed(seed + 1);
    }
    for (const char *letter = node->name; letter && *letter; letter++)
        seed = mixed(seed ^ (uint64_t)(unsigned char)*letter);
    return seed;
}

static enum md_status count_prepare(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, void **prepared, size_t *bytes,
                                    struct md_error *err)
{
    (void)node, (void)in, (void)in_count;
    atomic_ullong *runs = malloc(sizeof *runs);
    if (!runs)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    atomic_init(runs, 0);
    *prepared = runs;
    *bytes = sizeof *runs;
    return MD_OK;
}

/* The seed of this run; counts it. */
static uint64_t next_seed(const struct md_kernel_call *call)
{
    atomic_ullong *runs = (atomic_ullong *)(uintptr_t)call->prepared;
    return mixed(seed_of(call->node) + (runs ? atomic_fetch_add(runs, 1) : 0));
}

/* Number i of the stream, in [0, 1): 53 bits. */
static double uniform(uint64_t seed, uint64_t i)
{
    return (double)(mixed(seed + (i + 1) * UINT64_C(0x9E3779B97F4A7C15)) >> 11) * 0x1p-53;
}

/* Box and Muller's transform of two uniform numbers. */
static double normal(uint64_t seed, uint64_t i)
{
    double radius = sqrt(-2 * log(1 - uniform(seed, 2 * i)));
    return radius * cos(2 * 3.14159265358979323846 * uniform(seed, 2 * i + 1));
}

struct draw {
    const struct md_kernel_call *call;
    uint64_t seed;
    double from, scale; /* low and high - low, or mean and standard deviation */
    bool normal;
};

static void draw_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct draw *draw = context;
    for (size_t i = begin; i < end; i++) {
        double x = draw->normal ? normal(draw->seed, i) : uniform(draw->seed, i);
        md__set_float(&draw->call->out[0], i, draw->from + draw->scale * x);
    }
}

static enum md_status random_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_node *node = call->node;
    struct draw draw = {.call = call,
                        .seed = next_seed(call),
                        .normal = node->op == MD_OP_RANDOM_NORMAL ||
                                  node->op == MD_OP_RANDOM_NORMAL_LIKE};
    if (draw.normal) {
        draw.from = md_node_float(node, "mean", 0);
        draw.scale = md_node_float(node, "scale", 1);
    } else {
        draw.from = md_node_float(node, "low", 0);
        draw.scale = md_node_float(node, "high", 1) - draw.from;
    }
    md__parallel(call->pool, md__count(&call->out[0]), 2048, draw_some, &draw);
    return MD_OK;
}

/* The standard draws floats only. */
static bool random_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    enum md_dtype otherwise = in_count > 0 ? in[0].dtype : MD_F32;
    return md__dtype_is_float((enum md_dtype)md_node_int(node, "dtype", (int64_t)otherwise));
}

const struct md_kernel md__ref_random = {.supports = random_supports,
                                         .prepare = count_prepare,
                                         .prepared_free = free,
                                         .run = random_run};

static enum md_status bernoulli_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    uint64_t seed = next_seed(call);
    size_t count = md__count(&call->out[0]);
    for (size_t i = 0; i < count; i++)
        md__set_float(&call->out[0], i, uniform(seed, i) < md__get_float(&call->in[0], i));
    return MD_OK;
}

const struct md_kernel md__ref_bernoulli = {.supports = md__float_first,
                                            .prepare = count_prepare,
                                            .prepared_free = free,
                                            .run = bernoulli_run};

/* The class in which a share of the weights' sum falls; weights are e^(log-probability - max). */
static size_t class_at(const struct md_tensor *in, size_t row, size_t classes, double share)
{
    double max = -INFINITY, total = 0, sum = 0;
    for (size_t c = 0; c < classes; c++)
        max = fmax(max, md__get_float(in, row * classes + c));
    for (size_t c = 0; c < classes; c++)
        total += exp(md__get_float(in, row * classes + c) - max);
    for (size_t c = 0; c + 1 < classes; c++) {
        sum += exp(md__get_float(in, row * classes + c) - max);
        if (share * total < sum)
            return c;
    }
    return classes - 1;
}

static enum md_status multinomial_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *out = &call->out[0];
    uint64_t seed = next_seed(call);
    size_t samples = (size_t)out->shape.dim[1], classes = (size_t)call->in[0].shape.dim[1];
    size_t count = md__count(out);
    for (size_t i = 0; i < count; i++)
        md__set_int(out, i,
                    (int64_t)class_at(&call->in[0], i / samples, classes, uniform(seed, i)));
    return MD_OK;
}

const struct md_kernel md__ref_multinomial = {.supports = md__float_first,
                                              .prepare = count_prepare,
                                              .prepared_free = free,
                                              .run = multinomial_run};
