/* Log lines, read back from a pipe that stands in for stderr. */
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "unit.h"

static int stderr_kept, reader;
static struct md_clock_manual manual;

static int capture(void **state)
{
    int ends[2];
    if (pipe(ends) != 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    stderr_kept = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    reader = ends[0];
    md_clock_manual_init(&manual, INT64_C(1795260600123));
    return 0;
}

static int release(void **state)
{
    dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
    close(reader);
    md_log_setup(MD_LOG_INFO, false, NULL);
    return 0;
}

static const char *logged(void)
{
    static char text[65536];
    ssize_t length = read(reader, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static void a_text_line_has_time_level_and_subsystem(void **state)
{
    md_log_setup(MD_LOG_INFO, false, &manual.base);
    md_log(MD_LOG_WARN, "series", "dropped %d\nrows", 3);
    assert_string_equal(logged(), "2026-11-21T11:30:00.123Z warn series: dropped 3 rows\n");
    md_log_setup(MD_LOG_INFO, false, NULL);
    md_log(MD_LOG_INFO, "http", "listening");
    assert_string_equal(logged(), "info http: listening\n");
}

static void levels_below_the_threshold_are_silent(void **state)
{
    md_log_setup(MD_LOG_WARN, false, NULL);
    int evaluated = 0;
    md_log(MD_LOG_INFO, "x", "%d", ++evaluated);
    assert_string_equal(logged(), "");
    assert_int_equal(evaluated, 0);
    md_log_set_level(MD_LOG_OFF);
    md_log(MD_LOG_ERROR, "x", "silent");
    assert_string_equal(logged(), "");
    md_log_set_level(MD_LOG_DEBUG);
    md_log(MD_LOG_DEBUG, "x", "heard");
    assert_string_equal(logged(), "debug x: heard\n");
}

static void a_json_line_is_json(void **state)
{
    md_log_setup(MD_LOG_INFO, true, &manual.base);
    md_log(MD_LOG_ERROR, "script", "bad \"quote\" \\ \n \xFF end");
    json_t *line = json_loads(logged(), 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "time")),
                        "2026-11-21T11:30:00.123Z");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "subsystem")), "script");
    assert_string_equal(json_string_value(json_object_get(line, "message")),
                        "bad \"quote\" \\ \n \xEF\xBF\xBD end");
    json_decref(line);
}

static void an_over_long_line_is_cut_and_marked(void **state)
{
    char text[5000];
    memset(text, '\x01', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int json = 0; json < 2; json++) {
        md_log_setup(MD_LOG_INFO, json, &manual.base);
        md_log(MD_LOG_INFO, "x", "%s", text);
        const char *line = logged();
        size_t length = strlen(line);
        assert_in_range(length, 1000, 7000);
        assert_int_equal(line[length - 1], '\n');
        assert_non_null(strstr(line, " [cut]"));
    }
}

static void *log_many(void *argument)
{
    for (int i = 0; i < 200; i++)
        md_log(MD_LOG_INFO, "thread", "%s", (const char *)argument);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    md_log_setup(MD_LOG_INFO, false, NULL);
    char a_text[] = "aaaaaaaaaaaaaaaaaaaaaaaa", b_text[] = "bbbbbbbbbbbbbbbbbbbbbbbb";
    pthread_t a, b;
    pthread_create(&a, NULL, log_many, a_text);
    pthread_create(&b, NULL, log_many, b_text);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    char text[65536];
    strcpy(text, logged());
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++)
        assert_true(!strcmp(line, "info thread: aaaaaaaaaaaaaaaaaaaaaaaa") ||
                    !strcmp(line, "info thread: bbbbbbbbbbbbbbbbbbbbbbbb"));
    assert_int_equal(lines, 400);
}

static void level_names_parse(void **state)
{
    struct md_error err;
    enum md_log_level level;
    assert_ok(md_log_level_parse("debug", &level, &err));
    assert_int_equal(level, MD_LOG_DEBUG);
    assert_string_equal(md_log_level_name(level), "debug");
    assert_ok(md_log_level_parse("off", &level, &err));
    assert_int_equal(level, MD_LOG_OFF);
    assert_fails(MD_ERR_INVALID, md_log_level_parse("loud", &level, &err));
    assert_fails(MD_ERR_INVALID, md_log_level_parse("", &level, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_text_line_has_time_level_and_subsystem, capture, release),
        cmocka_unit_test_setup_teardown(levels_below_the_threshold_are_silent, capture, release),
        cmocka_unit_test_setup_teardown(a_json_line_is_json, capture, release),
        cmocka_unit_test_setup_teardown(an_over_long_line_is_cut_and_marked, capture, release),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, capture, release),
        cmocka_unit_test(level_names_parse),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
