/*
 * Feed bodies against one small table that lives on, as the daemon's does: counts add up, the
 * table keeps within its caps, and what it holds can be read back as a window.
 */
#include <math.h>
#include <stdlib.h>

#include "series/series.h"
#include "fuzz.h"

enum { ENTITIES_MAX = 4, STEPS = 8, COLUMNS = 3 };

static struct md_clock_manual time_now;
static struct md_feed_result result;

static struct md_series *table(void)
{
    static struct md_series *series;
    static const char *const states[] = {"healthy", "critical"};
    static const char *const labels[] = {"profile"};
    static const struct md_column columns[COLUMNS] = {
        {.name = "cpu", .kind = MD_COLUMN_MEAN, .min = 0, .max = 100},
        {.name = "errors", .kind = MD_COLUMN_MAX, .min = 0, .max = NAN},
        {.name = "state", .kind = MD_COLUMN_LAST, .values = states, .value_count = 2},
    };
    if (series)
        return series;
    md_clock_manual_init(&time_now, 1767225600000LL); /* 2026-01-01T00:00:00Z */
    const struct md_series_options options = {
        .name = "servers",
        .key_field = "server_name",
        .time_field = "timestamp",
        .label_fields = labels,
        .label_count = 1,
        .columns = columns,
        .column_count = COLUMNS,
        .step_ms = 60000,
        .steps = STEPS,
        .entities_max = ENTITIES_MAX,
        .future_max_ms = 60000,
        .late_max_ms = 120000,
        .evict_after_ms = 86400000,
        .clock = &time_now.base,
    };
    assert(md_series_new(&options, &series, NULL) == MD_OK);
    return series;
}

/* Every live entity's window is within the columns' ranges or empty. */
static void read_back(struct md_series *series)
{
    static const int columns[COLUMNS] = {0, 1, 2};
    struct md_tensor window;
    int count = 0;
    char **keys = md_series_keys(series, &count);
    assert(keys && count <= ENTITIES_MAX && count == md_series_count(series));
    assert(md_series_window(series, (const char *const *)keys, count, time_now.now_ms, STEPS,
                            columns, COLUMNS, &window, NULL) == MD_OK);
    const float *values = window.data;
    for (size_t i = 0; i < md_tensor_count(&window); i += COLUMNS) {
        assert(isnan(values[i]) || (values[i] >= 0 && values[i] <= 100));
        assert(isnan(values[i + 1]) || values[i + 1] >= 0);
        assert(isnan(values[i + 2]) || values[i + 2] == 0 || values[i + 2] == 1);
    }
    md_tensor_unref(&window);
    free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_series *series = table();
    struct md_error err;
    enum md_status status = md_series_feed(series, (const char *)data, size, &result, &err);
    assert(status == MD_OK || status == MD_ERR_INVALID || status == MD_ERR_UNPROCESSABLE);
    if (status != MD_ERR_INVALID) {
        assert(result.accepted >= 0 && result.rejected >= 0 && result.unknown_fields >= 0);
        assert(result.error_count <= MD_FEED_ERRORS_MAX && result.error_count <= result.rejected);
    }
    read_back(series);
    if (md_series_count(series) == ENTITIES_MAX)
        md_series_clear(series);
    return 0;
}
