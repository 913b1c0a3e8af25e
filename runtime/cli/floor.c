/*
 * Measures the machine. Each number is the best of a few short runs: interference only ever
 * makes them worse. The multiply-add loop keeps twelve independent sums, enough to hide the
 * latency of two units of four cycles.
 */
#include "cli/floor.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define SUMS           12
#define ROUNDS         40000
#define ITEMS_A_THREAD 16
#define REPEATS        5
#define STREAM_BYTES   ((size_t)192 << 20)
#define CHAIN          8
#define CHAIN_ELEMENTS 16384 /* per thread: stays in the first caches */

/* ---- multiply-adds ---- */

#define FMA_LOOP(name, attributes, bytes)                                                          \
    typedef float name##_vector __attribute__((vector_size(bytes)));                               \
    attributes static float name(void)                                                             \
    {                                                                                              \
        name##_vector sums[SUMS], scale = {0}, offset = {0};                                       \
        for (int i = 0; i < SUMS; i++) {                                                           \
            sums[i] = scale + (float)i;                                                            \
        }                                                                                          \
        scale += 0.999f;                                                                           \
        offset += 0.001f;                                                                          \
        for (int round = 0; round < ROUNDS; round++) {                                             \
            for (int i = 0; i < SUMS; i++) {                                                       \
                sums[i] = sums[i] * scale + offset;                                                \
            }                                                                                      \
        }                                                                                          \
        for (int i = 1; i < SUMS; i++) {                                                           \
            sums[0] += sums[i];                                                                    \
        }                                                                                          \
        return sums[0][0];                                                                         \
    }

#if defined(__x86_64__)
FMA_LOOP(fma_512, __attribute__((noinline, target("avx512f"))), 64)
FMA_LOOP(fma_256, __attribute__((noinline, target("avx2,fma"))), 32)
#endif
FMA_LOOP(fma_128, __attribute__((noinline)), 16)

static volatile float sink; /* so that nothing measured is optimised away */

struct fma_choice {
    float (*loop)(void);
    int lanes;
};

static struct fma_choice pick_fma(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return (struct fma_choice){fma_512, 16};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return (struct fma_choice){fma_256, 8};
    }
#endif
    return (struct fma_choice){fma_128, 4};
}

static void run_fma(void *context, size_t begin, size_t end, int thread)
{
    const struct fma_choice *choice = context;

    (void)thread;
    for (size_t i = begin; i < end; i++) {
        sink = choice->loop();
    }
}

static double seconds_of(struct md_clock *clock, struct md_pool *pool, size_t items,
                         md_pool_body body, void *context)
{
    double best = INFINITY;

    for (int repeat = 0; repeat < REPEATS; repeat++) {
        int64_t begin = md_monotonic_ns(clock);
        md_pool_run(pool, items, 1, body, context);
        best = fmin(best, (double)(md_monotonic_ns(clock) - begin) / 1e9);
    }
    return best;
}

static double measure_fma(struct md_clock *clock, struct md_pool *pool)
{
    struct fma_choice choice = pick_fma();
    size_t items = (size_t)md_pool_threads(pool) * ITEMS_A_THREAD;
    double flops = 2.0 * SUMS * ROUNDS * choice.lanes * (double)items;

    return flops / seconds_of(clock, pool, items, run_fma, &choice);
}

/* ---- bandwidth ---- */

#define STREAM_PIECE ((size_t)1 << 20)

static void read_memory(void *context, size_t begin, size_t end, int thread)
{
    const uint64_t *words = context;
    size_t per_piece = STREAM_PIECE / sizeof *words;
    uint64_t sum = 0;

    (void)thread;
    for (size_t i = begin * per_piece; i < end * per_piece; i++) {
        sum += words[i];
    }
    sink = (float)sum;
}

/* Half a piece, the same one each time. */
static void read_cache(void *context, size_t begin, size_t end, int thread)
{
    typedef uint64_t vector __attribute__((vector_size(64)));
    const vector *vectors = context;
    size_t count = STREAM_PIECE / 2 / sizeof *vectors;
    vector a = {0}, b = {0};

    (void)thread;
    for (size_t i = begin; i < end; i++) {
        for (size_t v = 0; v < count; v += 2) {
            a += vectors[v];
            b ^= vectors[v + 1];
        }
    }
    sink = (float)(a[0] + b[0]);
}

static enum md_status measure_bandwidth(struct md_clock *clock, struct md_pool *pool,
                                        struct md__floor *floor, struct md_error *err)
{
    uint64_t *words = aligned_alloc(64, STREAM_BYTES);

    if (words == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for the bandwidth measurement");
    }
    for (size_t i = 0; i < STREAM_BYTES / sizeof *words; i++) {
        words[i] = i;
    }
    size_t pieces = STREAM_BYTES / STREAM_PIECE;
    floor->bytes_per_s = (double)STREAM_BYTES / seconds_of(clock, pool, pieces, read_memory, words);
    floor->cached_bytes_per_s =
        (double)(STREAM_BYTES / 2) / seconds_of(clock, pool, pieces, read_cache, words);
    free(words);
    long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
    floor->cached_bytes = (double)(cache > 0 ? cache : 1 << 20) * md_pool_threads(pool);
    return MD_OK;
}

/* ---- transcendentals: a chain of Tanh by the backend's own kernel ---- */

static enum md_status chain_graph(struct md_graph **graph, const struct md_shape *shape,
                                  struct md_error *err)
{
    int value;
    enum md_status status = md_graph_new("chain", graph, err);

    if (status != MD_OK) {
        return status;
    }
    status = md_graph_input(*graph, "x", MD_F32, shape, &value, err);
    for (int i = 0; i < CHAIN && status == MD_OK; i++) {
        int input = value;
        status = md_graph_node(*graph, "Tanh", "", &input, 1, NULL, 0, &value, 1, err);
    }
    if (status == MD_OK) {
        status = md_graph_output(*graph, "y", value, err);
    }
    if (status != MD_OK) {
        md_graph_delete(*graph);
    }
    return status;
}

static enum md_status time_chain(struct md_executable *chain, const struct md_tensor *input,
                                 struct md_clock *clock, double *seconds, struct md_error *err)
{
    enum md_status status = MD_OK;

    *seconds = INFINITY;
    for (int repeat = 0; repeat < 10 * REPEATS && status == MD_OK; repeat++) {
        struct md_tensor output = {0};
        int64_t begin = md_monotonic_ns(clock);
        status = md_executable_run(chain, input, 1, &output, 1, err);
        *seconds = fmin(*seconds, (double)(md_monotonic_ns(clock) - begin) / 1e9);
        md_tensor_unref(&output);
    }
    return status;
}

static enum md_status measure_transcendental(const struct md_backend *backend, struct md_pool *pool,
                                             struct md_clock *clock, double *seconds,
                                             struct md_error *err)
{
    struct md_executable_options options = {
        .backend = backend, .reference = backend, .pool = pool, .passes_off = "fold,lower"};
    int64_t elements = (int64_t)CHAIN_ELEMENTS * md_pool_threads(pool);
    struct md_shape shape = md_shape_of(1, &elements);
    struct md_executable *chain = NULL;
    struct md_graph *graph = NULL;
    struct md_tensor input = {0};
    enum md_status status = md_tensor_new(MD_F32, &shape, &input, err);

    if (status == MD_OK) {
        for (int64_t i = 0; i < elements; i++) {
            ((float *)input.data)[i] = (float)(i % 201 - 100) * 0.02f;
        }
        status = chain_graph(&graph, &shape, err);
    }
    if (status == MD_OK) {
        status = md_executable_new(graph, &options, &chain, err);
    }
    if (status == MD_OK) {
        status = time_chain(chain, &input, clock, seconds, err);
        *seconds /= (double)elements * CHAIN;
        md_executable_delete(chain);
    }
    md_tensor_unref(&input);
    return status;
}

/* ---- both together ---- */

enum md_status md__floor_measure(const struct md_backend *backend, struct md_pool *pool,
                                 struct md_clock *clock, struct md__floor *floor,
                                 struct md_error *err)
{
    enum md_status status;

    floor->flops_per_s = measure_fma(clock, pool);
    status = measure_bandwidth(clock, pool, floor, err);
    if (status == MD_OK) {
        status = measure_transcendental(backend, pool, clock, &floor->transcendental_s, err);
    }
    return status;
}

double md__floor_seconds(const struct md__floor *floor, const struct md_plan_report *report,
                         size_t port_bytes)
{
    double bytes = (double)(port_bytes + report->constant_bytes);

    return fmax(report->flops / floor->flops_per_s, bytes / floor->bytes_per_s) +
           report->transcendentals * floor->transcendental_s;
}

double md__floor_step_seconds(const struct md__floor *floor, const struct md_step_cost *cost)
{
    double bytes_per_s =
        cost->bytes <= floor->cached_bytes ? floor->cached_bytes_per_s : floor->bytes_per_s;

    return fmax(cost->flops / floor->flops_per_s, cost->bytes / bytes_per_s) +
           cost->transcendentals * floor->transcendental_s;
}
