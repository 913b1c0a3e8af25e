/*
 * What this machine can do, by loops that share nothing with the runtime's own (runtime/cli/floor.h
 * and the kernels): fused multiply-adds on registers, and reading memory that no cache holds.
 *
 *     build/release/bench_peak [THREADS]        one line of JSON
 *
 * Each thread is timed over the same interval; the best of a few is told, because neighbours on a
 * shared machine only ever slow a loop down.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 64
#define TRIALS      5
#define ROUNDS      4000000
/* More than the caches of any machine that this is likely to run on. */
#define BYTES_EACH ((size_t)512 << 20)

typedef float wide __attribute__((vector_size(64)));

enum { LANES = 16, CHAINS = 20 };

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const wide *memory; /* NULL: multiply-adds */
    double sum;
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Enough independent chains to hide the latency of each, few enough to stay in registers. */
__attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("O3"))) static double
multiply_add(void)
{
    wide chains[CHAINS], factor, step, all = {0};
    double sum = 0;

    for (int lane = 0; lane < LANES; lane++) {
        factor[lane] = 0.999f;
        step[lane] = 0.001f;
    }
    for (int i = 0; i < CHAINS; i++)
        chains[i] = step * (float)i;
    for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 20
        for (int i = 0; i < CHAINS; i++)
            chains[i] = chains[i] * factor + step;
    }
    for (int i = 0; i < CHAINS; i++)
        all += chains[i];
    for (int lane = 0; lane < LANES; lane++)
        sum += all[lane];
    return sum;
}

__attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("O3"))) static double
read_all(const wide *memory)
{
    wide sums[4] = {{0}};
    double sum = 0;

    for (size_t i = 0; i < BYTES_EACH / sizeof *memory; i += 4) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sums[j] += memory[i + (size_t)j];
    }
    for (int lane = 0; lane < LANES; lane++)
        sum += sums[0][lane] + sums[1][lane] + sums[2][lane] + sums[3][lane];
    return sum;
}

static void *work(void *data)
{
    struct worker *worker = data;

    pthread_barrier_wait(worker->start);
    worker->sum = worker->memory != NULL ? read_all(worker->memory) : multiply_add();
    return NULL;
}

/* Seconds from the start of all to the end of the last; *sum keeps the loops from being removed. */
static double together(struct worker *workers, int threads, double *sum)
{
    pthread_barrier_t start;
    double begin;

    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        workers[i].start = &start;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            abort();
    }
    pthread_barrier_wait(&start);
    begin = now_s();
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        *sum += workers[i].sum;
    }
    pthread_barrier_destroy(&start);
    return now_s() - begin;
}

static double fastest(struct worker *workers, int threads, double *sum)
{
    double best = 1e30;

    for (int trial = 0; trial < TRIALS; trial++) {
        double spent = together(workers, threads, sum);
        best = spent < best ? spent : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    struct worker workers[THREADS_MAX] = {{0}};
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    double sum = 0, flops, bytes;

    if (argc > 2 || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: bench_peak [THREADS]\n");
        return 2;
    }
    flops = 2.0 * LANES * CHAINS * ROUNDS * threads / fastest(workers, threads, &sum);
    for (int i = 0; i < threads; i++) {
        void *memory = aligned_alloc(sizeof(wide), BYTES_EACH);
        if (memory == NULL) {
            fprintf(stderr, "bench_peak: not enough memory\n");
            return 1;
        }
        memset(memory, 0, BYTES_EACH); /* pages of its own, not the one of zeros */
        workers[i].memory = memory;
    }
    bytes = (double)BYTES_EACH * threads / fastest(workers, threads, &sum);
    printf("{\"threads\": %d, \"fma_gflops\": %.1f, \"read_gb_per_s\": %.1f, \"sum\": %g}\n",
           threads, flops / 1e9, bytes / 1e9, sum);
    for (int i = 0; i < threads; i++)
        free((void *)workers[i].memory);
    return 0;
}
