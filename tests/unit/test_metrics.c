/* Metrics: declarations, series, updates from several threads, and both renderings exactly. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/metrics.h"
#include "unit.h"

static const char *const by_model[] = {"model", "code", NULL};
static const char *const one_label[] = {"name", NULL};

static struct md_metrics *metrics;
static struct md_buffer text;

static int set_up(void **state)
{
    metrics = md_metrics_new();
    md_buffer_init(&text, 0);
    return metrics ? 0 : -1;
}

static int tear_down(void **state)
{
    md_metrics_delete(metrics);
    md_buffer_fini(&text);
    return 0;
}

static const char *rendered(void)
{
    md_buffer_clear(&text);
    md_buffer_text(&text, "");
    md_metrics_render_prometheus(metrics, &text);
    return text.data;
}

static struct md_family *counter(const char *name, const char *const *labels)
{
    return md_family_new(metrics, MD_COUNTER, name, "Help.", labels, NULL, 0);
}

static void counters_and_gauges_render_exactly(void **state)
{
    struct md_family *requests = counter("moondial_requests_total", by_model);
    struct md_family *depth = md_family_new(metrics, MD_GAUGE, "moondial_depth", "", NULL, NULL, 0);
    assert_string_equal(rendered(), "# TYPE moondial_depth gauge\nmoondial_depth 0\n");
    md_metric_add(md_metric_get(requests, (const char *[]){"tft", "200"}), 2);
    md_metric_add(md_metric_get(requests, (const char *[]){"tft", "503"}), 0.5);
    md_metric_add(md_metric_get(requests, (const char *[]){"tft", "200"}), 1);
    md_metric_set(md_metric_get(depth, NULL), 4);
    md_metric_add(md_metric_get(depth, NULL), -1.25);
    assert_string_equal(rendered(), "# HELP moondial_requests_total Help.\n"
                                    "# TYPE moondial_requests_total counter\n"
                                    "moondial_requests_total{model=\"tft\",code=\"200\"} 3\n"
                                    "moondial_requests_total{model=\"tft\",code=\"503\"} 0.5\n"
                                    "# TYPE moondial_depth gauge\n"
                                    "moondial_depth 2.75\n");
}

static void a_histogram_is_cumulative(void **state)
{
    static const double bounds[] = {0.1, 1};
    struct md_family *seconds = md_family_new(metrics, MD_HISTOGRAM, "moondial_wait_seconds",
                                              "Wait.", one_label, bounds, 2);
    struct md_metric *metric = md_metric_get(seconds, (const char *[]){"a"});
    static const double observed[] = {0.0625, 0.1, 0.5, 1, 7, NAN};
    for (size_t i = 0; i < sizeof observed / sizeof *observed; i++)
        md_metric_observe(metric, observed[i]);
    assert_true(md_metric_value(metric) == 5);
    assert_string_equal(rendered(), "# HELP moondial_wait_seconds Wait.\n"
                                    "# TYPE moondial_wait_seconds histogram\n"
                                    "moondial_wait_seconds_bucket{name=\"a\",le=\"0.1\"} 2\n"
                                    "moondial_wait_seconds_bucket{name=\"a\",le=\"1\"} 4\n"
                                    "moondial_wait_seconds_bucket{name=\"a\",le=\"+Inf\"} 5\n"
                                    "moondial_wait_seconds_sum{name=\"a\"} 8.6625\n"
                                    "moondial_wait_seconds_count{name=\"a\"} 5\n");
}

static void text_is_escaped(void **state)
{
    struct md_family *family = md_family_new(metrics, MD_COUNTER, "x_total",
                                             "back\\slash\nline \"q\"", one_label, NULL, 0);
    md_metric_add(md_metric_get(family, (const char *[]){"a\"b\\c\nd\xFF\xC3\xA9"}), 1);
    assert_string_equal(rendered(), "# HELP x_total back\\\\slash\\nline \"q\"\n"
                                    "# TYPE x_total counter\n"
                                    "x_total{name=\"a\\\"b\\\\c\\nd?\xC3\xA9\"} 1\n");
}

static void special_values_render_as_go_reads_them(void **state)
{
    struct md_metric *gauge =
        md_metric_get(md_family_new(metrics, MD_GAUGE, "g", NULL, NULL, NULL, 0), NULL);
    md_metric_set(gauge, INFINITY);
    assert_string_equal(rendered(), "# TYPE g gauge\ng +Inf\n");
    md_metric_set(gauge, -INFINITY);
    assert_string_equal(rendered(), "# TYPE g gauge\ng -Inf\n");
    md_metric_set(gauge, 1e300);
    md_metric_set(gauge, NAN);
    assert_string_equal(rendered(), "# TYPE g gauge\ng 1e300\n");
}

static void the_same_declaration_gives_the_same_family(void **state)
{
    static const double bounds[] = {1, 2}, others[] = {1, 3};
    struct md_family *family = counter("a_total", by_model);
    assert_ptr_equal(counter("a_total", by_model), family);
    assert_null(counter("a_total", one_label));
    assert_null(md_family_new(metrics, MD_GAUGE, "a_total", "", by_model, NULL, 0));
    struct md_family *histogram = md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, bounds, 2);
    assert_non_null(histogram);
    assert_ptr_equal(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, bounds, 2), histogram);
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, others, 2));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, NULL, 0));
}

static void illegal_declarations_are_refused(void **state)
{
    static const char *const names[] = {"", "1a", "a-b", "a b", "a:b", "caf\xC3\xA9", NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_null(counter(names[i], NULL));
    assert_null(counter("a", (const char *[]){"__name__", NULL}));
    assert_null(counter("a", (const char *[]){"", NULL}));
    assert_null(counter("a", (const char *[]){"x", "x", NULL}));
    assert_null(counter("a", (const char *[]){"a", "b", "c", "d", "e", NULL}));
    assert_null(
        md_family_new(metrics, MD_HISTOGRAM, "h", "", (const char *[]){"le", NULL}, NULL, 0));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){1, 1}, 2));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){2, 1}, 2));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){1, INFINITY}, 2));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){NAN}, 1));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){1}, 0));
    assert_string_equal(rendered(), "");
}

static void samples_of_two_families_never_share_a_name(void **state)
{
    assert_non_null(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, NULL, 0));
    assert_null(counter("h_count", NULL));
    assert_null(counter("h_bucket", NULL));
    assert_non_null(counter("h_total", NULL));
    assert_non_null(counter("k_sum", NULL));
    assert_null(md_family_new(metrics, MD_HISTOGRAM, "k", "", NULL, NULL, 0));
}

static void updates_that_make_no_sense_do_nothing(void **state)
{
    struct md_metric *metric = md_metric_get(counter("a_total", NULL), NULL);
    struct md_metric *histogram =
        md_metric_get(md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, NULL, 0), NULL);
    md_metric_add(metric, 3);
    md_metric_add(metric, -1);
    md_metric_add(metric, NAN);
    md_metric_observe(metric, 1);
    assert_true(md_metric_value(metric) == 3);
    md_metric_add(histogram, 1);
    md_metric_set(histogram, 1);
    assert_true(md_metric_value(histogram) == 0);
    assert_null(md_metric_get(NULL, NULL));
    md_metric_add(NULL, 1);
    md_metric_set(NULL, 1);
    md_metric_observe(NULL, 1);
    assert_true(md_metric_value(NULL) == 0);
}

static void series_are_capped(void **state)
{
    struct md_family *family = counter("a_total", one_label);
    char value[16];
    for (int i = 0; i < MD_METRIC_SERIES_MAX + 500; i++) {
        snprintf(value, sizeof value, "v%d", i);
        md_metric_add(md_metric_get(family, (const char *[]){value}), 1);
    }
    assert_true(md_metric_value(md_metric_get(family, (const char *[]){"other"})) == 500);
    assert_true(md_metric_value(md_metric_get(family, (const char *[]){"v7"})) == 1);
    int lines = 0;
    for (const char *c = rendered(); *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 2 + MD_METRIC_SERIES_MAX + 1);
    assert_non_null(strstr(text.data, "a_total{name=\"other\"} 500\n"));
}

static void long_values_are_cut_between_characters(void **state)
{
    struct md_family *family = counter("a_total", one_label);
    char value[400] = "x";
    for (size_t i = 1; i + 2 < sizeof value; i += 2)
        memcpy(value + i, "\xC3\xA9", 2);
    struct md_metric *metric = md_metric_get(family, (const char *[]){value});
    value[300] = '\0';
    assert_ptr_equal(md_metric_get(family, (const char *[]){value}), metric);
    md_metric_add(metric, 1);
    const char *quote = strchr(rendered(), '"');
    assert_int_equal(strchr(quote + 1, '"') - quote - 1, 127);
}

static void json_says_the_same(void **state)
{
    md_metric_add(md_metric_get(counter("a_total", by_model), (const char *[]){"m\n", "200"}), 2);
    struct md_metric *histogram = md_metric_get(
        md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, (double[]){0.5}, 1), NULL);
    md_metric_observe(histogram, 3);
    md_buffer_clear(&text);
    md_metrics_render_json(metrics, &text);
    assert_string_equal(
        text.data,
        "{\"a_total\":{\"type\":\"counter\",\"help\":\"Help.\",\"series\":"
        "[{\"labels\":{\"model\":\"m\\n\",\"code\":\"200\"},\"value\":2}]},"
        "\"h\":{\"type\":\"histogram\",\"help\":\"\",\"series\":[{\"labels\":{},\"buckets\":"
        "[{\"le\":0.5,\"count\":0},{\"le\":\"+Inf\",\"count\":1}],\"count\":1,\"sum\":3}]}}");
    json_t *root = json_loads(text.data, 0, NULL);
    assert_non_null(root);
    json_decref(root);
}

static void an_empty_registry_renders(void **state)
{
    assert_string_equal(rendered(), "");
    md_metrics_render_json(metrics, &text);
    assert_string_equal(text.data, "{}");
    assert_ptr_equal(md_metrics_global(), md_metrics_global());
}

enum { THREADS = 4, ROUNDS = 3000 };

static void *hammer(void *argument)
{
    struct md_family *family = counter("a_total", one_label);
    struct md_family *histogram = md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, NULL, 0);
    for (int i = 0; i < ROUNDS; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i % 100);
        md_metric_add(md_metric_get(family, (const char *[]){value}), 0.5);
        md_metric_observe(md_metric_get(histogram, NULL), 1);
    }
    return argument;
}

/* No update is lost, and rendering meanwhile always gives whole lines. */
static void threads_lose_no_update(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (int i = 0; i < 20; i++) {
        size_t length = strlen(rendered());
        assert_true(length == 0 || text.data[length - 1] == '\n');
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    double total = 0;
    for (int i = 0; i < 100; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        total +=
            md_metric_value(md_metric_get(counter("a_total", one_label), (const char *[]){value}));
    }
    assert_true(total == 0.5 * THREADS * ROUNDS);
    struct md_family *histogram = md_family_new(metrics, MD_HISTOGRAM, "h", "", NULL, NULL, 0);
    assert_true(md_metric_value(md_metric_get(histogram, NULL)) == THREADS * ROUNDS);
}

static void test_sums_over_series(void **state)
{
    static const double bounds[] = {1, 2};
    const char *const names[] = {"code"}, *const values[] = {"200"}, *const wrong[] = {"x"};
    const char *const a[] = {"a", "200"}, *const b[] = {"b", "200"}, *const c[] = {"b", "500"};
    struct md_metric_sum sum;
    struct md_family *calls = counter("calls_total", by_model);
    md_metric_add(md_metric_get(calls, a), 1);
    md_metric_add(md_metric_get(calls, b), 2);
    md_metric_add(md_metric_get(calls, c), 4);
    assert_true(md_metrics_sum(metrics, "calls_total", NULL, NULL, 0, &sum));
    assert_int_equal(sum.type, MD_COUNTER);
    assert_float_equal(sum.value, 7, 0);
    assert_true(md_metrics_sum(metrics, "calls_total", names, values, 1, &sum));
    assert_float_equal(sum.value, 3, 0);
    assert_false(md_metrics_sum(metrics, "calls_total", wrong, values, 1, &sum));
    assert_false(md_metrics_sum(metrics, "calls_total", names, wrong, 1, &sum));
    assert_false(md_metrics_sum(metrics, "calls", NULL, NULL, 0, &sum));

    struct md_family *times =
        md_family_new(metrics, MD_HISTOGRAM, "seconds", "", one_label, bounds, 2);
    md_metric_observe(md_metric_get(times, &a[0]), 0.5);
    md_metric_observe(md_metric_get(times, &b[0]), 0.5);
    md_metric_observe(md_metric_get(times, &b[0]), 9);
    assert_true(md_metrics_sum(metrics, "seconds", NULL, NULL, 0, &sum));
    assert_float_equal(sum.value, 3, 0);
    assert_int_equal(sum.bound_count, 2);
    assert_float_equal(sum.bounds[1], 2, 0);
    assert_float_equal(sum.buckets[0], 2, 0);
    assert_float_equal(sum.buckets[1], 0, 0);
    assert_float_equal(sum.buckets[2], 1, 0);
}

static void collect_two(void *context, md_metric_emit emit, void *sink)
{
    const struct md_metric_label labels[] = {{"name", "a\"b"}, {"state", "firing"}};
    if (*(bool *)context)
        emit(sink, labels, 2, 1);
    emit(sink, NULL, 0, 2.5);
}

static void test_collectors_are_asked_when_rendered(void **state)
{
    bool both = true;
    struct md_collector first = {
        .name = "ALERTS", .help = "Help.", .collect = collect_two, .context = &both};
    md_collector_add(metrics, &first);
    assert_string_equal(rendered(), "# HELP ALERTS Help.\n# TYPE ALERTS gauge\n"
                                    "ALERTS{name=\"a\\\"b\",state=\"firing\"} 1\nALERTS 2.5\n");
    both = false;
    md_buffer_clear(&text);
    md_metrics_render_json(metrics, &text);
    assert_string_equal(text.data, "{\"ALERTS\":{\"type\":\"gauge\",\"help\":\"Help.\","
                                   "\"series\":[{\"labels\":{},\"value\":2.5}]}}");
    counter("calls_total", NULL);
    md_buffer_clear(&text);
    md_metrics_render_json(metrics, &text);
    json_t *read = json_loads(text.data, 0, NULL);
    assert_int_equal(json_object_size(read), 2);
    json_decref(read);
    md_collector_remove(metrics, &first);
    assert_null(strstr(rendered(), "ALERTS"));
}

#define metrics_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        metrics_test(test_sums_over_series),
        metrics_test(test_collectors_are_asked_when_rendered),
        metrics_test(counters_and_gauges_render_exactly),
        metrics_test(a_histogram_is_cumulative),
        metrics_test(text_is_escaped),
        metrics_test(special_values_render_as_go_reads_them),
        metrics_test(the_same_declaration_gives_the_same_family),
        metrics_test(illegal_declarations_are_refused),
        metrics_test(samples_of_two_families_never_share_a_name),
        metrics_test(updates_that_make_no_sense_do_nothing),
        metrics_test(series_are_capped),
        metrics_test(long_values_are_cut_between_characters),
        metrics_test(json_says_the_same),
        metrics_test(an_empty_registry_renders),
        metrics_test(threads_lose_no_update),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
