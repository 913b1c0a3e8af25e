/*
 * Rolling windows against full runs: a fleet of series goes through random ticks, with gaps, late
 * rows, other scalings, new and vanished servers, skipped ticks and batches of some servers only,
 * and every forecast is made twice, with what earlier runs kept and without. They must agree to
 * 1e-5 of the range of all outputs.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rolling.h"
#include "unit.h"

/* Difference and range of all outputs. */
struct compared {
    double largest, lowest, highest;
};

static void compare(struct compared *compared, const struct md_tensor *full,
                    const struct md_tensor *rolled)
{
    const float *a = full->data, *b = rolled->data;
    assert_int_equal(md_tensor_count(full), md_tensor_count(rolled));
    for (size_t i = 0; i < md_tensor_count(full); i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        compared->largest = fmax(compared->largest, fabs((double)a[i] - (double)b[i]));
        compared->lowest = fmin(compared->lowest, (double)a[i]);
        compared->highest = fmax(compared->highest, (double)a[i]);
    }
}

static void forecast(struct rolling *rolling, struct compared *compared)
{
    struct rolling_batch batch = {0};
    rolling_choose(rolling, &batch);
    rolling_inputs(rolling, &batch);
    const struct md_windows windows = {batch.windows, batch.count, rolling->fleet->newest};
    struct md_tensor full = rolling_run(rolling, &batch, NULL),
                     rolled = rolling_run(rolling, &batch, &windows);
    compare(compared, &full, &rolled);
    md_tensor_unref(&full);
    md_tensor_unref(&rolled);
    rolling_drop(&batch);
}

static struct md_kept_report play(struct rolling *rolling, int ticks)
{
    struct compared compared = {.lowest = INFINITY, .highest = -INFINITY};
    struct md_kept_report report;
    for (int i = 0; i < ticks; i++) {
        rolling_tick(rolling);
        forecast(rolling, &compared);
    }
    md_executable_kept(rolling->executable, &report);
    printf("%d ticks: largest difference %.2g of the range; kept %.1f %%, %zu bytes\n", ticks,
           compared.largest / (compared.highest - compared.lowest),
           100.0 * (double)report.rows_kept / (double)(report.rows_kept + report.rows_computed),
           report.bytes);
    assert_true(compared.highest > compared.lowest);
    assert_true(compared.largest <= 1e-5 * (compared.highest - compared.lowest));
    return report;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_thousand_ticks_agree_with_full_runs(void **state)
{
    (void)state;
    struct rolling rolling;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 110, ROLLING_ROOMY);
    struct md_kept_report report = play(&rolling, 1000);
    /* relative_time_idx moves where windows are of different lengths; all else mostly stays */
    assert_true(report.rows_kept > 5 * report.rows_computed);
    assert_int_equal(report.runs_kept, 1000);
    assert_int_equal(report.runs_full, 0);
    assert_true(report.windows >= ROLLING_SERVERS && report.windows < 3 * ROLLING_SERVERS);
    assert_true(report.bytes > 0 && report.bytes <= report.bytes_max);
    rolling_end(&rolling);
}

static void test_every_instruction_set_agrees(void **state)
{
    (void)state;
    static const struct {
        const char *fixture;
        enum rolling_kind kind;
    } cases[] = {{"fleet_small", ROLLING_AS_BUILT},
                 {"fleet_small", ROLLING_WHOLE_ROWS},
                 {"bare", ROLLING_AS_BUILT}};
    for (enum md_cpu_isa isa = MD_ISA_PORTABLE; isa < MD_ISA_BEST; isa++)
        for (int c = 0; c < 3 && md_cpu_backend(isa); c++) {
            struct rolling rolling;
            rolling_begin(&rolling, cases[c].fixture, cases[c].kind, isa, 13 + 20 * c,
                          ROLLING_ROOMY);
            struct md_kept_report report = play(&rolling, 60);
            assert_true(report.rows_kept > report.rows_computed);
            rolling_end(&rolling);
        }
}

/*
 * Rows are encoded together as threads find them, a tick's few or a whole history: each gets the
 * same bits in any company, so that two daemons that were fed the same say the same.
 */
static void kept_bits(enum md_cpu_isa isa)
{
    struct rolling rolling;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, isa, 110, ROLLING_ROOMY);
    for (int i = 0; i < 20; i++) {
        struct rolling_batch batch = {0};
        rolling_tick(&rolling);
        rolling_choose(&rolling, &batch);
        rolling_inputs(&rolling, &batch);
        const struct md_windows windows = {batch.windows, batch.count, rolling.fleet->newest};
        struct md_tensor kept = rolling_run(&rolling, &batch, &windows);
        for (int b = 0; b < batch.count; b++) /* as servers that nobody has seen */
            batch.windows[b].key += (uint64_t)(1 + i) << 32;
        struct md_tensor anew = rolling_run(&rolling, &batch, &windows);
        assert_memory_equal(kept.data, anew.data, md_tensor_bytes(&kept));
        md_tensor_unref(&kept);
        md_tensor_unref(&anew);
        rolling_drop(&batch);
    }
    rolling_end(&rolling);
}

static void test_kept_rows_have_the_bits_of_new_ones(void **state)
{
    (void)state;
    for (enum md_cpu_isa isa = MD_ISA_PORTABLE; isa < MD_ISA_BEST; isa++)
        if (md_cpu_backend(isa))
            kept_bits(isa);
}

static void test_whole_rows_agree_over_a_thousand_ticks(void **state)
{
    (void)state;
    struct rolling rolling;
    rolling_begin(&rolling, "fleet_small", ROLLING_WHOLE_ROWS, MD_ISA_BEST, 50, ROLLING_ROOMY);
    struct md_kept_report report = play(&rolling, 1000);
    assert_true(report.rows_kept > 5 * report.rows_computed);
    rolling_end(&rolling);
}

static void test_memory_ends_at_its_cap(void **state)
{
    (void)state;
    struct rolling rolling;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 13, 60000);
    struct md_kept_report report = play(&rolling, 60);
    assert_true(report.bytes <= 60000);
    assert_true(report.runs_full > 0);
    rolling_end(&rolling);
}

/* Two rows of one key are two series as far as anybody can tell: nothing of them is kept. */
static void test_a_key_that_comes_twice_keeps_nothing(void **state)
{
    struct rolling rolling;
    struct md_kept_report report;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 13, ROLLING_ROOMY);
    for (int i = 0; i < 3; i++) {
        struct rolling_batch batch = {.servers = {0, 1}, .count = 2};
        rolling_tick(&rolling);
        rolling_inputs(&rolling, &batch);
        batch.windows[1].key = batch.windows[0].key;
        const struct md_windows windows = {batch.windows, 2, rolling.fleet->newest};
        struct md_tensor full = rolling_run(&rolling, &batch, NULL),
                         twice = rolling_run(&rolling, &batch, &windows);
        assert_memory_equal(full.data, twice.data, md_tensor_bytes(&full));
        md_tensor_unref(&full);
        md_tensor_unref(&twice);
        rolling_drop(&batch);
    }
    md_executable_kept(rolling.executable, &report);
    assert_int_equal(report.runs_full, 3);
    assert_int_equal(report.runs_kept, 0);
    assert_int_equal(report.bytes, 0);
    assert_int_equal(report.windows, 0);
    rolling_end(&rolling);
}

/* A run whose windows do not fit takes nothing from the room of those that do. */
static void test_a_run_that_does_not_fit_keeps_nothing(void **state)
{
    struct rolling rolling;
    struct md_kept_report report;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 13, ROLLING_ROOMY);
    size_t each = md_executable_window_bytes(rolling.executable);
    rolling_end(&rolling);
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 13, 2 * (each + 16384));
    for (int i = 0; i < 4; i++) {
        struct rolling_batch batch = {.servers = {0, 1, 2, 3, 4}, .count = i < 2 ? 5 : 1};
        rolling_tick(&rolling);
        rolling_inputs(&rolling, &batch);
        const struct md_windows windows = {batch.windows, batch.count, rolling.fleet->newest};
        struct md_tensor output = rolling_run(&rolling, &batch, &windows);
        md_executable_kept(rolling.executable, &report);
        assert_int_equal(report.runs_full, i < 2 ? i + 1 : 2);
        assert_int_equal(report.windows, i < 2 ? 0 : 1);
        md_tensor_unref(&output);
        rolling_drop(&batch);
    }
    rolling_end(&rolling);
}

/* A series that is forecast no more gives its memory back. */
static void idle_windows_go(int64_t ahead)
{
    struct rolling rolling;
    struct md_kept_report report;
    rolling_begin(&rolling, "fleet_small", ROLLING_AS_BUILT, MD_ISA_BEST, 13, ROLLING_ROOMY);
    for (int i = 0; i < 40; i++) {
        struct rolling_batch batch = {.servers = {0, 1, 2}, .count = i < 10 ? 3 : 1};
        rolling_tick(&rolling);
        rolling_inputs(&rolling, &batch);
        batch.windows[0].key = 5;
        int64_t now = rolling.fleet->newest + (i == 9 ? ahead : 0);
        const struct md_windows windows = {batch.windows, batch.count, now};
        struct md_tensor output = rolling_run(&rolling, &batch, &windows);
        md_tensor_unref(&output);
        rolling_drop(&batch);
    }
    md_executable_kept(rolling.executable, &report);
    assert_int_equal(report.windows, 1);
    assert_true(report.bytes >= md_executable_window_bytes(rolling.executable));
    assert_true(report.bytes < 2 * md_executable_window_bytes(rolling.executable));
    rolling_end(&rolling);
}

/* Also after one tick that claims to be far ahead, or long ago. */
static void test_idle_windows_go(void **state)
{
    for (int ahead = -100000; ahead <= 100000; ahead += 100000)
        idle_windows_go(ahead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thousand_ticks_agree_with_full_runs),
        cmocka_unit_test(test_whole_rows_agree_over_a_thousand_ticks),
        cmocka_unit_test(test_every_instruction_set_agrees),
        cmocka_unit_test(test_kept_rows_have_the_bits_of_new_ones),
        cmocka_unit_test(test_memory_ends_at_its_cap),
        cmocka_unit_test(test_a_key_that_comes_twice_keeps_nothing),
        cmocka_unit_test(test_idle_windows_go),
        cmocka_unit_test(test_a_run_that_does_not_fit_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
