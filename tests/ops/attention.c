/*
 * Attention on every instruction set against the reference kernel: layouts, shared keys, masks of
 * every rank, windows, queries that see nothing, and what falls back to the reference.
 */
#include "unit.h"

#include "device_case.h"

#define ATTENTION(name_, y_, ...)                                                                  \
    {                                                                                              \
        .name = name_, .op = MD_OP_ATTENTION, .in = {__VA_ARGS__}, .out = {y_}, .absolute = 1e-5,  \
        .relative = 1e-5
#define END }

static const struct op_case cases[] = {
    ATTENTION("attention", F32(2, 3, 5, 7), F32(2, 3, 5, 19), F32(2, 3, 23, 19), F32(2, 3, 23, 7))
        END,
    ATTENTION("attention of many queries and keys", F32(1, 2, 101, 33), F32(1, 2, 101, 64),
              F32(1, 2, 197, 64), F32(1, 2, 197, 33)) END,
    ATTENTION("attention of long sums", F32(1, 1, 7, 20), F32(1, 1, 7, 16), F32(1, 1, 601, 16),
              F32(1, 1, 601, 20)) END,
    ATTENTION("attention, heads last, shared keys", F32(2, 9, 60), F32(2, 9, 72), F32(2, 11, 24),
              F32(2, 11, 20)),
    .attrs = {INT("q_num_heads", 6), INT("kv_num_heads", 2), FLOAT("scale", 0.3)} END,
    ATTENTION("attention, causal", F32(2, 4, 50, 8), F32(2, 4, 50, 8), F32(2, 2, 50, 8),
              F32(2, 2, 50, 8)),
    .attrs = {INT("is_causal", 1)} END,
    ATTENTION("attention, more queries than keys, causal", F32(1, 2, 9, 8), F32(1, 2, 9, 8),
              F32(1, 2, 4, 8), F32(1, 2, 4, 8)),
    .attrs = {INT("is_causal", 1)} END,
    ATTENTION("attention, a window", F32(1, 2, 30, 8), F32(1, 2, 30, 8), F32(1, 2, 30, 8),
              F32(1, 2, 30, 8)),
    .attrs = {INT("left_window_size", 3), INT("right_window_size", 2)} END,
    ATTENTION("attention, a window that ends before the keys", F32(1, 1, 9, 8), F32(1, 1, 9, 8),
              F32(1, 1, 3, 8), F32(1, 1, 3, 8)),
    .attrs = {INT("left_window_size", 2)} END,
    ATTENTION("attention, bool mask of queries and keys", F32(2, 3, 5, 7), F32(2, 3, 5, 19),
              F32(2, 3, 23, 19), F32(2, 3, 23, 7), TENSOR(MD_BOOL, 5, 23)) END,
    ATTENTION("attention, no key seen", F32(2, 3, 5, 7), F32(2, 3, 5, 19), F32(2, 3, 2, 19),
              F32(2, 3, 2, 7), TENSOR(MD_BOOL, 2, 1, 5, 2)) END,
    ATTENTION("attention, a float mask of heads, short", F32(2, 3, 5, 7), F32(2, 3, 5, 19),
              F32(2, 3, 23, 19), F32(2, 3, 23, 7), F32(3, 1, 20)) END,
    ATTENTION("attention, a wide float mask", F32(2, 3, 5, 7), F32(2, 3, 5, 19), F32(2, 3, 23, 19),
              F32(2, 3, 23, 7), F32(2, 1, 5, 23)),
    .attrs = {INT("is_causal", 1)} END,
    ATTENTION("attention, softcap", F32(2, 3, 5, 7), F32(2, 3, 5, 19), F32(2, 3, 23, 19),
              F32(2, 3, 23, 7)),
    .attrs = {FLOAT("softcap", 2)} END,
    ATTENTION("attention of one query", F32(2, 3, 1, 70), F32(2, 3, 1, 64), F32(2, 3, 257, 64),
              F32(2, 3, 257, 70)) END,
    ATTENTION("attention of one query, shared keys", F32(2, 1, 8 * 64), F32(2, 1, 8 * 64),
              F32(2, 2, 33, 64), F32(2, 2, 33, 64), F32(2, 1, 1, 33)),
    .attrs = {INT("q_num_heads", 8)} END,
    ATTENTION("attention of few queries, causal", F32(1, 2, 5, 19), F32(1, 2, 5, 7),
              F32(1, 2, 9, 7), F32(1, 2, 9, 19)),
    .attrs = {INT("is_causal", 1)} END,
    ATTENTION("attention of many heads", F32(3, 60, 8 * 9), F32(3, 60, 8 * 9), F32(3, 60, 4 * 9),
              F32(3, 60, 4 * 9)),
    .attrs = {INT("q_num_heads", 8), INT("kv_num_heads", 4)} END,
    ATTENTION("attention of no queries", F32(2, 3, 0, 7), F32(2, 3, 0, 19), F32(2, 3, 23, 19),
              F32(2, 3, 23, 7)) END,
};

#define ROTARY(name_, y_, ...)                                                                     \
    {                                                                                              \
        .name = name_, .op = MD_OP_ROTARY_EMBEDDING, .in = {__VA_ARGS__}, .out = {y_},             \
        .absolute = 1e-6, .relative = 1e-6

static const struct op_case rotations[] = {
    ROTARY("rotary, heads first", F32(2, 3, 5, 70), F32(2, 3, 5, 70), F32(2, 5, 35), F32(2, 5, 35))
        END,
    ROTARY("rotary, heads last, a part", F32(2, 9, 60), F32(2, 9, 60), F32(2, 9, 7), F32(2, 9, 7)),
    .attrs = {INT("num_heads", 3), INT("rotary_embedding_dim", 14)} END,
    ROTARY("rotary, neighbours", F32(2, 9, 64), F32(2, 9, 64), F32(2, 9, 16), F32(2, 9, 16)),
    .attrs = {INT("num_heads", 2), INT("interleaved", 1)} END,
    ROTARY("rotary of no steps", F32(2, 3, 0, 8), F32(2, 3, 0, 8), F32(2, 0, 4), F32(2, 0, 4)) END,
};

static void test_rotary_on_all_instruction_sets(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof rotations / sizeof *rotations; i++)
        wrong += op_case_against_reference(&rotations[i]);
    assert_int_equal(wrong, 0);
}

static void test_attention_on_all_instruction_sets(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += op_case_against_reference(&cases[i]);
    op_device_report(10);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_on_all_instruction_sets),
        cmocka_unit_test(test_rotary_on_all_instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
