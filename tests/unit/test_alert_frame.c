/*
 * Frames as bytes: what comes back, how near rounded forecasts are, that what came back comes back
 * again unchanged, and damage.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/history.h"
#include "unit.h"

static const char *const keys[] = {"ppdb001", "ppml0001", "ppml0002"};
static const char *const profiles[] = {"database", "ml_compute", ""};
static const char *const columns[] = {"cpu_user_pct", "mem_used_pct"};
enum { KEYS = 3, COLUMNS = 2, STEPS = 4 };

struct setting {
    float values[KEYS * COLUMNS];
    unsigned char known[KEYS * COLUMNS];
    float forecast[KEYS * STEPS];
    struct md_alert_channel channel;
    struct md_alert_gauge gauge;
    struct md_alert_frame frame;
};

static struct setting *new_setting(void)
{
    struct setting *s = calloc(1, sizeof *s);
    assert_non_null(s);
    for (int i = 0; i < KEYS * COLUMNS; i++) {
        s->values[i] = 0.1f * (float)i;
        s->known[i] = i % 3 != 0;
    }
    s->values[3] = NAN;
    for (int i = 0; i < KEYS * STEPS; i++)
        s->forecast[i] = 90.0f + 1.7f * (float)i;
    s->channel = (struct md_alert_channel){"cpu_user_pct", 0.5f, 300000, STEPS, s->forecast};
    s->gauge = (struct md_alert_gauge){"moondial_queue_depth{model=\"tft\"}", 1e300};
    s->frame = (struct md_alert_frame){.time_ms = 1767225600000,
                                       .step_ms = 300000,
                                       .key_count = KEYS,
                                       .keys = keys,
                                       .profiles = profiles,
                                       .column_count = COLUMNS,
                                       .columns = columns,
                                       .values = s->values,
                                       .known = s->known,
                                       .channel_count = 1,
                                       .channels = &s->channel,
                                       .gauge_count = 1,
                                       .gauges = &s->gauge};
    return s;
}

static void round_trip(const struct md_alert_frame *frame, struct md_alert_record *record)
{
    struct md_buffer bytes;
    struct md_error err;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_frame_encode(frame, &bytes, &err));
    assert_ok(md_alert_frame_decode(bytes.data, bytes.length, record, &err));
    md_buffer_fini(&bytes);
}

static void assert_same_texts(const char *const *a, const char *const *b, int count)
{
    for (int i = 0; i < count; i++)
        assert_string_equal(a[i], b[i]);
}

/* Bit for bit, NaNs and zeros included. */
static void assert_same_frame(const struct md_alert_frame *a, const struct md_alert_frame *b)
{
    size_t cells = (size_t)a->key_count * (size_t)a->column_count;
    assert_true(a->time_ms == b->time_ms && a->step_ms == b->step_ms);
    assert_int_equal(a->key_count, b->key_count);
    assert_int_equal(a->column_count, b->column_count);
    assert_int_equal(a->channel_count, b->channel_count);
    assert_int_equal(a->gauge_count, b->gauge_count);
    assert_same_texts(a->keys, b->keys, a->key_count);
    assert_same_texts(a->profiles, b->profiles, a->key_count);
    assert_same_texts(a->columns, b->columns, a->column_count);
    if (cells > 0) {
        assert_memory_equal(a->values, b->values, cells * sizeof *a->values);
        assert_memory_equal(a->known, b->known, cells);
    }
    for (int i = 0; i < a->channel_count; i++) {
        const struct md_alert_channel *x = &a->channels[i], *y = &b->channels[i];
        size_t floats = (size_t)a->key_count * (size_t)x->steps;
        assert_string_equal(x->column, y->column);
        assert_true(x->quantile == y->quantile && x->step_ms == y->step_ms && x->steps == y->steps);
        if (floats > 0)
            assert_memory_equal(x->values, y->values, floats * sizeof *x->values);
    }
    for (int i = 0; i < a->gauge_count; i++) {
        assert_string_equal(a->gauges[i].name, b->gauges[i].name);
        assert_memory_equal(&a->gauges[i].value, &b->gauges[i].value, sizeof(double));
    }
}

/* ---- what comes back ------------------------------------------------------------------------- */

static void a_frame_comes_back(void **state)
{
    struct setting *s = new_setting();
    struct md_alert_record record = {0};
    round_trip(&s->frame, &record);
    assert_floats_close(record.frame.channels[0].values, s->forecast, (size_t)KEYS * STEPS,
                        5.1 / 131070, 0);
    s->channel.values = record.frame.channels[0].values; /* all else is as it was */
    assert_same_frame(&record.frame, &s->frame);
    md_alert_record_fini(&record);
    free(s);
}

static void empty_frames_come_back(void **state)
{
    struct md_alert_record record = {0};
    struct setting *s = new_setting();
    round_trip(&(struct md_alert_frame){.time_ms = 7, .step_ms = 1}, &record);
    assert_true(record.frame.time_ms == 7 && record.frame.key_count == 0);
    s->frame.key_count = 0; /* columns, a forecast and a gauge of nobody */
    round_trip(&s->frame, &record);
    assert_same_frame(&record.frame, &s->frame);
    s->frame.key_count = KEYS;
    s->frame.column_count = 0;
    s->channel.steps = 0;
    round_trip(&s->frame, &record);
    assert_same_frame(&record.frame, &s->frame);
    md_alert_record_fini(&record);
    free(s);
}

static void runs_of_equal_numbers_are_short(void **state)
{
    enum { MANY = 1000 };
    struct setting *s = new_setting();
    struct md_alert_record record = {0};
    struct md_buffer bytes;
    struct md_error err;
    float *many = calloc((size_t)KEYS * MANY, sizeof *many);
    assert_non_null(many);
    for (int i = 0; i < KEYS * MANY; i++)
        many[i] = i < MANY ? NAN : i < 2 * MANY ? INFINITY : 3.1f;
    s->channel.values = many;
    s->channel.steps = MANY;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_frame_encode(&s->frame, &bytes, &err));
    assert_true(bytes.length < 400);
    assert_ok(md_alert_frame_decode(bytes.data, bytes.length, &record, &err));
    assert_same_frame(&record.frame, &s->frame);
    for (int i = 0; i < KEYS * MANY; i++)
        many[i] = (float)i;
    assert_ok(md_alert_frame_encode(&s->frame, &bytes, &err));
    assert_true(bytes.length > KEYS * MANY * 2 && bytes.length < KEYS * MANY * 2 + 400);
    md_buffer_fini(&bytes);
    md_alert_record_fini(&record);
    free(many);
    free(s);
}

/* ---- what came back comes back again --------------------------------------------------------- */

static uint64_t seed = 88172645463325252u;

static uint32_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A row of one of many kinds; the nasty ones are ranges of about 65535 units in the last place, and
 * such that pass a power of two, where floats begin to lie further apart. */
static void random_row(float *row, int count)
{
    static const float odd[] = {NAN,     INFINITY, -INFINITY, 0.0f,   -0.0f,
                                FLT_MAX, -FLT_MAX, FLT_MIN,   1e-45f, -1e-45f};
    uint32_t kind = random_bits() % 8;
    float base = float_of_bits(random_bits()), scale = ldexpf(1, (int)(random_bits() % 40) - 30);
    float power = ldexpf(1, (int)(random_bits() % 60) - 30);
    double width = ldexp(1 + random_bits() / 4294967296.0, (int)(random_bits() % 5) - 2);
    for (int i = 0; i < count; i++) {
        double part = random_bits() / 4294967296.0;
        row[i] = kind == 0   ? float_of_bits(random_bits())
                 : kind == 1 ? odd[random_bits() % 10]
                 : kind == 2 ? base
                 : kind == 3 ? (float)(base * (1 + part * (double)scale))
                 : kind == 4 ? (float)(100 * part)
                 : kind == 5 ? (float)(power * (1 + (part - 0.5) * (double)scale))
                 : kind == 6 ? (float)(power * (1 + (part - 0.3) * 65535 * width / (1 << 24)))
                             : (random_bits() % 9 ? (float)part : odd[random_bits() % 10]);
    }
}

static void check_rounding(const float *was, const float *is, int count)
{
    double low = DBL_MAX, high = -DBL_MAX;
    for (int i = 0; i < count; i++) {
        low = fmin(low, (double)was[i]);
        high = fmax(high, (double)was[i]);
    }
    for (int i = 0; i < count; i++) {
        if (!isfinite(was[i])) {
            assert_memory_equal(&was[i], &is[i], sizeof *was);
            continue;
        }
        float larger = fmaxf(fabsf(was[i]), fabsf(is[i])), next = nextafterf(larger, INFINITY);
        assert_true(fabs((double)was[i] - (double)is[i]) <=
                    (high - low) / 131070 * (1 + 1e-9) + ((double)next - (double)larger));
    }
}

static void decoding_is_idempotent(void **state)
{
    enum { ROWS = 200, LONGEST = 300, TURNS = 300 };
    struct md_alert_record once = {0}, twice = {0};
    char names[ROWS][16];
    const char *many[ROWS];
    float *row = malloc((size_t)ROWS * LONGEST * sizeof *row);
    assert_non_null(row);
    for (int i = 0; i < ROWS; i++) {
        snprintf(names[i], sizeof names[i], "k%04d", i);
        many[i] = names[i];
    }
    for (int turn = 0; turn < TURNS; turn++) {
        int steps = 1 + (int)(random_bits() % LONGEST), count = (int)(random_bits() % (ROWS + 1));
        for (int i = 0; i < count; i++)
            random_row(row + i * steps, steps);
        struct md_alert_channel channel = {"cpu", 0.5f, 60000, steps, row};
        const struct md_alert_frame frame = {.time_ms = (int64_t)random_bits() - 1000,
                                             .step_ms = 60000,
                                             .key_count = count,
                                             .keys = many,
                                             .profiles = many,
                                             .channel_count = 1,
                                             .channels = &channel};
        round_trip(&frame, &once);
        for (int i = 0; i < count; i++)
            check_rounding(row + i * steps, once.frame.channels[0].values + i * steps, steps);
        round_trip(&once.frame, &twice);
        assert_same_frame(&once.frame, &twice.frame);
    }
    md_alert_record_fini(&once);
    md_alert_record_fini(&twice);
    free(row);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void bad_frames_are_refused(void **state)
{
    struct setting *s = new_setting();
    struct md_buffer bytes;
    struct md_error err;
    md_buffer_init(&bytes, 0);
    const char *disorder[] = {"b", "a", "c"}, *twice[] = {"a", "a", "b"};
    s->frame.keys = disorder;
    assert_fails(MD_ERR_INVALID, md_alert_frame_encode(&s->frame, &bytes, &err));
    assert_says("'b' before 'a'");
    s->frame.keys = twice;
    assert_fails(MD_ERR_INVALID, md_alert_frame_encode(&s->frame, &bytes, &err));
    s->frame.keys = keys;
    s->channel.steps = MD_ALERT_STEPS_MAX + 1;
    assert_fails(MD_ERR_INVALID, md_alert_frame_encode(&s->frame, &bytes, &err));
    assert_says("4097 steps");
    s->channel.steps = -1;
    assert_fails(MD_ERR_INVALID, md_alert_frame_encode(&s->frame, &bytes, &err));
    s->frame.gauge_count = -1;
    assert_fails(MD_ERR_INVALID, md_alert_frame_encode(&s->frame, &bytes, &err));
    md_buffer_fini(&bytes);
    free(s);
}

static void pieces_are_refused(void **state)
{
    struct setting *s = new_setting();
    struct md_alert_record record = {0};
    struct md_buffer bytes;
    struct md_error err;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_frame_encode(&s->frame, &bytes, &err));
    for (size_t length = 0; length < bytes.length; length++)
        assert_fails(MD_ERR_CORRUPT, md_alert_frame_decode(bytes.data, length, &record, &err));
    md_buffer_append(&bytes, "x", 1);
    assert_fails(MD_ERR_CORRUPT, md_alert_frame_decode(bytes.data, bytes.length, &record, &err));
    assert_says("follows");
    md_buffer_fini(&bytes);
    md_alert_record_fini(&record);
    free(s);
}

/* Any byte may be wrong: the answer is a frame or MD_ERR_CORRUPT, and never more memory than the
 * cap. */
static void damage_is_survived(void **state)
{
    struct setting *s = new_setting();
    struct md_alert_record record = {0};
    struct md_buffer bytes;
    struct md_error err;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_frame_encode(&s->frame, &bytes, &err));
    for (size_t i = 0; i < bytes.length; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (char)(1 << bit);
            enum md_status status = md_alert_frame_decode(bytes.data, bytes.length, &record, &err);
            assert_true(status == MD_OK || status == MD_ERR_CORRUPT);
            assert_true(record.bytes <= MD_ALERT_FRAME_BYTES_MAX + bytes.length * 16);
            bytes.data[i] ^= (char)(1 << bit);
        }
    assert_ok(md_alert_frame_decode(bytes.data, bytes.length, &record, &err));
    bytes.data[4] = 9;
    assert_fails(MD_ERR_CORRUPT, md_alert_frame_decode(bytes.data, bytes.length, &record, &err));
    assert_says("unknown format");
    md_buffer_fini(&bytes);
    md_alert_record_fini(&record);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_back),
        cmocka_unit_test(empty_frames_come_back),
        cmocka_unit_test(runs_of_equal_numbers_are_short),
        cmocka_unit_test(decoding_is_idempotent),
        cmocka_unit_test(bad_frames_are_refused),
        cmocka_unit_test(pieces_are_refused),
        cmocka_unit_test(damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
