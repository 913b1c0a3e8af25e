/*
 * Speed of single kernels, by instruction set and thread count:
 *
 *     build/release/bench_ops [NAME_PART] [--threads N]
 *
 * Shapes are those of a Temporal Fusion Transformer (288 + 96 steps, batch 20 and 100) and a few
 * plain products. Prints the fastest of repeated runs and GFLOP/s (multiplies and adds counted
 * apart, activations not counted), or GB/s for operators that only move.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "op_case.h"

#define SECONDS_PER_CASE 0.25

struct bench {
    struct op_case op_case;
    double flop; /* 0: moves bytes */
    double bytes;
};

#define GRN_FLOP(rows, I, H, O) (2.0 * (rows) * ((I) * (H) + (H) * (H) + 2.0 * (H) * (O)))
#define LSTM_FLOP(t, b, i, h)   (2.0 * (t) * (b)*4 * (h) * ((i) + (h)))
#define GRN_CASE(name_, rows, I, H, O)                                                             \
    {                                                                                              \
        {.name = name_,                                                                            \
         .op = MD_OP_GATED_RESIDUAL,                                                               \
         .in = {F32(rows, I), WEIGHT(H, I), WEIGHT(H), WEIGHT(H, H), WEIGHT(H), WEIGHT(2 * O, H),  \
                WEIGHT(2 * O), WEIGHT(O), WEIGHT(O)},                                              \
         .out = {F32(rows, O)}},                                                                   \
            GRN_FLOP(rows, I, H, O), 0                                                             \
    }
#define LSTM_CASE(name_, t, b, i, h)                                                               \
    {                                                                                              \
        {.name = name_,                                                                            \
         .op = MD_OP_LSTM,                                                                         \
         .in = {F32(t, b, i), WEIGHT(1, 4 * h, i), WEIGHT(1, 4 * h, h), WEIGHT(1, 8 * h)},         \
         .out = {F32(t, 1, b, h), F32(1, b, h), F32(1, b, h)}},                                    \
            LSTM_FLOP(t, b, i, h), 0                                                               \
    }
#define LINEAR_CASE(name_, rows, i, o)                                                             \
    {                                                                                              \
        {.name = name_,                                                                            \
         .op = MD_OP_LINEAR,                                                                       \
         .in = {F32(rows, i), WEIGHT(o, i), WEIGHT(o)},                                            \
         .out = {F32(rows, o)}},                                                                   \
            2.0 * (rows) * (i) * (o), 0                                                            \
    }

/* h x w places of c channels to o, k x k taps, padded so that stride 1 keeps the size */
#define CONV_CASE(h, w, c, o, k, s, groups)                                                        \
    {                                                                                              \
        {.name =                                                                                   \
             "conv last " #h "x" #w "x" #c " -> " #o ", " #k "x" #k "/" #s ", groups " #groups,    \
         .op = MD_OP_CONV_LAST,                                                                    \
         .in = {F32(1, h, w, c), WEIGHT(o, (c) / (groups), k, k), WEIGHT(o)},                      \
         .out = {F32(1, ((h)-1) / (s) + 1, ((w)-1) / (s) + 1, o)},                                 \
         .attrs = {INTS("pads", (k) / 2, (k) / 2, (k) / 2, (k) / 2), INTS("strides", s, s),        \
                   INT("group", groups), STRING("activation", "Relu")}},                           \
            2.0 * (((h)-1) / (s) + 1) * (((w)-1) / (s) + 1) * (c) / (groups) * (o) * (k) * (k), 0  \
    }

static const struct bench benches[] = {
    CONV_CASE(224, 224, 3, 64, 7, 2, 1),
    CONV_CASE(56, 56, 64, 64, 3, 1, 1),
    CONV_CASE(28, 28, 128, 128, 3, 1, 1),
    CONV_CASE(14, 14, 256, 256, 3, 1, 1),
    CONV_CASE(7, 7, 512, 512, 3, 1, 1),
    CONV_CASE(56, 56, 64, 128, 3, 2, 1),
    CONV_CASE(128, 128, 48, 48, 3, 1, 1),
    CONV_CASE(64, 64, 96, 96, 3, 1, 1),
    CONV_CASE(32, 32, 192, 192, 3, 1, 1),
    CONV_CASE(16, 16, 384, 384, 3, 1, 1),
    CONV_CASE(256, 256, 32, 32, 3, 1, 1),
    CONV_CASE(56, 56, 64, 256, 1, 1, 1),
    CONV_CASE(56, 56, 256, 64, 1, 1, 1),
    CONV_CASE(28, 28, 512, 128, 1, 1, 1),
    CONV_CASE(28, 28, 128, 512, 1, 1, 1),
    CONV_CASE(14, 14, 1024, 256, 1, 1, 1),
    CONV_CASE(14, 14, 256, 1024, 1, 1, 1),
    CONV_CASE(7, 7, 2048, 512, 1, 1, 1),
    CONV_CASE(7, 7, 512, 2048, 1, 1, 1),
    CONV_CASE(112, 112, 16, 96, 1, 1, 1),
    CONV_CASE(14, 14, 96, 576, 1, 1, 1),
    CONV_CASE(112, 112, 96, 96, 3, 2, 96),
    CONV_CASE(56, 56, 144, 144, 3, 1, 144),
    CONV_CASE(14, 14, 576, 576, 3, 1, 576),
    CONV_CASE(28, 28, 240, 240, 5, 1, 240),
    CONV_CASE(56, 56, 96, 96, 7, 1, 96),
    CONV_CASE(56, 56, 128, 128, 3, 1, 32),
    CONV_CASE(112, 112, 64, 64, 3, 2, 4),
    CONV_CASE(28, 28, 144, 144, 3, 1, 9),
    CONV_CASE(14, 14, 320, 320, 3, 1, 20),
    LINEAR_CASE("linear 5760x1 -> 16", 5760, 1, 16),
    LINEAR_CASE("linear 5760x32 -> 32", 5760, 32, 32),
    LINEAR_CASE("linear 5760x304 -> 19", 5760, 304, 19),
    LINEAR_CASE("linear 1024x256 -> 256", 1024, 256, 256),
    LINEAR_CASE("linear 1024x1024 -> 1024", 1024, 1024, 1024),
    LINEAR_CASE("linear 1x512 -> 2048", 1, 512, 2048),
    LINEAR_CASE("linear 10x512 -> 2048", 10, 512, 2048),
    LINEAR_CASE("linear 128x384 -> 1536", 128, 384, 1536),
    LINEAR_CASE("linear 128x1536 -> 384", 128, 1536, 384),
    LINEAR_CASE("linear 197x192 -> 768", 197, 192, 768),
    LINEAR_CASE("linear 197x768 -> 192", 197, 768, 192),
    LINEAR_CASE("linear 256x768 -> 3072", 256, 768, 3072),
    LINEAR_CASE("linear 256x3072 -> 768", 256, 3072, 768),
    GRN_CASE("grn 5760 rows, 32", 5760, 32, 32, 32),
    GRN_CASE("grn 5760 rows, 128", 5760, 128, 128, 128),
    {{.name = "grn 5760 rows, 16 -> 32, resampled",
      .op = MD_OP_GATED_RESIDUAL,
      .in = {F32(5760, 16), WEIGHT(32, 16), WEIGHT(32), WEIGHT(32, 32), WEIGHT(32), WEIGHT(64, 32),
             WEIGHT(64), WEIGHT(32), WEIGHT(32), ABSENT, ABSENT, WEIGHT(32), WEIGHT(32),
             WEIGHT(32)},
      .out = {F32(5760, 32)}},
     GRN_FLOP(5760, 16, 32, 32),
     0},
    {{.name = "grn 5760 rows, 304 -> 19, resampled, context",
      .op = MD_OP_GATED_RESIDUAL,
      .in = {F32(20, 288, 304), WEIGHT(19, 304), WEIGHT(19), WEIGHT(19, 19), WEIGHT(19),
             WEIGHT(38, 19), WEIGHT(38), WEIGHT(19), WEIGHT(19), F32(20, 1, 32), WEIGHT(19, 32),
             WEIGHT(19), WEIGHT(19), WEIGHT(19)},
      .out = {F32(20, 288, 19)}},
     GRN_FLOP(5760, 304, 19, 19),
     0},
    LSTM_CASE("lstm 288 steps, batch 1, 32", 288, 1, 32, 32),
    LSTM_CASE("lstm 288 steps, batch 20, 32", 288, 20, 32, 32),
    LSTM_CASE("lstm 288 steps, batch 100, 32", 288, 100, 32, 32),
    LSTM_CASE("lstm 288 steps, batch 1, 128", 288, 1, 128, 128),
    LSTM_CASE("lstm 288 steps, batch 20, 128", 288, 20, 128, 128),
    LSTM_CASE("lstm 288 steps, batch 100, 128", 288, 100, 128, 128),
    {{.name = "gru 288 steps, batch 20, 32",
      .op = MD_OP_GRU,
      .in = {F32(288, 20, 32), WEIGHT(1, 96, 32), WEIGHT(1, 96, 32), WEIGHT(1, 192)},
      .out = {F32(288, 1, 20, 32), F32(1, 20, 32)},
      .attrs = {INT("linear_before_reset", 1)}},
     LSTM_FLOP(288, 20, 32, 32) * 0.75,
     0},
    {{.name = "attention batch 20, 96 x 384, 8 heads of 4",
      .op = MD_OP_INTERPRETABLE_ATTENTION,
      .in = {F32(20, 96, 32), F32(20, 384, 32), F32(20, 384, 4)},
      .out = {F32(20, 96, 4)},
      .attrs = {INT("heads", 8), INT("head_size", 4)}},
     2.0 * 20 * 96 * 384 * 36,
     0},
    {{.name = "attention batch 20, 96 x 384, 8 heads of 4, masked",
      .op = MD_OP_INTERPRETABLE_ATTENTION,
      .in = {F32(20, 96, 32), F32(20, 384, 32), F32(20, 384, 4), TENSOR(MD_BOOL, 20, 96, 384)},
      .out = {F32(20, 96, 4)},
      .attrs = {INT("heads", 8), INT("head_size", 4)}},
     2.0 * 20 * 96 * 384 * 36,
     0},
    {{.name = "softmax 5760 x 19",
      .op = MD_OP_SOFTMAX,
      .in = {F32(5760, 19)},
      .out = {F32(5760, 19)}},
     0,
     5760.0 * 19 * 8},
    {{.name = "layer norm 7680 x 32",
      .op = MD_OP_LAYER_NORM,
      .in = {F32(7680, 32), WEIGHT(32), WEIGHT(32)},
      .out = {F32(7680, 32)}},
     0,
     7680.0 * 32 * 8},
    {{.name = "sigmoid of 1 M", .op = MD_OP_SIGMOID, .in = {F32(1000000)}, .out = {F32(1000000)}},
     0,
     8e6},
    {{.name = "tanh of 1 M", .op = MD_OP_TANH, .in = {F32(1000000)}, .out = {F32(1000000)}},
     0,
     8e6},
    {{.name = "exp of 1 M", .op = MD_OP_EXP, .in = {F32(1000000)}, .out = {F32(1000000)}}, 0, 8e6},
    {{.name = "add of 1 M",
      .op = MD_OP_ADD,
      .in = {F32(1000000), F32(1000000)},
      .out = {F32(1000000)}},
     0,
     12e6},
    {{.name = "one column of 5760 x 19",
      .op = MD_OP_SLICE,
      .in = {F32(5760, 19), GIVEN(MD_I64, 3), GIVEN(MD_I64, 4), GIVEN(MD_I64, 1)},
      .out = {F32(5760, 1)}},
     0,
     5760 * 8},
    {{.name = "transpose 288 x 20 x 32",
      .op = MD_OP_TRANSPOSE,
      .in = {F32(288, 20, 32)},
      .out = {F32(20, 288, 32)},
      .attrs = {INTS("perm", 1, 0, 2)}},
     0,
     5760.0 * 32 * 8},
};

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double fastest_s(struct op_ready *ready, struct md_error *err)
{
    double best = 1e9, start = now_s();
    for (int i = 0; i < 3 || now_s() - start < SECONDS_PER_CASE; i++) {
        double begin = now_s();
        if (ready->kernel->run(&ready->call, err) != MD_OK)
            return 1e9;
        double took = now_s() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static void bench_backend(const struct bench *bench, const struct md_backend *backend,
                          struct md_pool *pool)
{
    struct md_error err = {.text = "refused"};
    struct op_run run;
    struct op_ready ready;
    op_run_init(&run, &bench->op_case);
    if (op_ready_init(&ready, &run, backend->kernels[run.node.op], pool, &err) == OP_DONE) {
        double took = fastest_s(&ready, &err);
        printf("  %-13s %9.3f ms %8.2f %s\n", backend->name, took * 1e3,
               (bench->flop > 0 ? bench->flop : bench->bytes) / took * 1e-9,
               bench->flop > 0 ? "GFLOP/s" : "GB/s");
    } else
        printf("  %-13s %s\n", backend->name, err.text);
    op_ready_fini(&ready);
    op_run_fini(&run);
}

int main(int argc, char **argv)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends), threads = 1;
    const char *part = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = atoi(argv[++i]);
        else
            part = argv[i];
    }
    struct md_error err;
    struct md_pool *pool = NULL;
    if (md_pool_new(threads, 50, &pool, &err) != MD_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
        if (!strstr(benches[i].op_case.name, part))
            continue;
        printf("%s\n", benches[i].op_case.name);
        for (int b = 1; b < count; b++)
            bench_backend(&benches[i], backends[b], pool);
    }
    md_pool_delete(pool);
    return 0;
}
