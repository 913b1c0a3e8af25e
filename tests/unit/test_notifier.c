/*
 * The notifier at work, into files: what is delivered, what waits and survives, what is dropped.
 * Threads work on their own time, so that tests wait for what must come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alert/notifier_internal.h"
#include "scratch.h"
#include "store/queue.h"
#include "store/store.h"
#include "unit.h"

#define T0 1767225600000LL

static struct md_error err;
static struct md_clock_manual time_now;
static char *folder, *path;
static struct md_store *store;
static struct md_notifier *notifier;

static void open_all(void)
{
    struct md_store_options options = {.clock = &time_now.base};
    assert_ok(md_store_open(folder, &options, &store, &err));
    assert_ok(md_notifier_new(&time_now.base, store, &notifier, &err));
}

static void close_all(void)
{
    md_notifier_delete(notifier);
    md_store_close(store);
    notifier = NULL;
    store = NULL;
}

static int set_up(void **state)
{
    folder = scratch_new();
    path = scratch_path(folder, "out/alerts.jsonl");
    md_clock_manual_init(&time_now, T0);
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    close_all();
    free(path);
    scratch_delete(folder);
    return 0;
}

static void make_folder(void)
{
    char *out = scratch_path(folder, "out");
    assert_int_equal(mkdir(out, 0755), 0);
    free(out);
}

static void set_receivers(const struct md_notify_receiver *receivers, int count)
{
    struct md_notify_settings settings = {.receiver_count = count, .receivers = receivers};
    struct md_notify_config *config;
    assert_ok(md_notify_config_new(&settings, &config, &err));
    assert_ok(md_notifier_set_config(notifier, config, &err));
    md_notify_config_unref(config);
}

/* Receivers of these names, all into the one file. */
static void configure(const char *const *names, int count)
{
    struct md_notify_receiver receivers[4];
    for (int i = 0; i < count; i++)
        receivers[i] = (struct md_notify_receiver){.name = names[i],
                                                   .target = names[i],
                                                   .kind = MD_NOTIFY_FILE,
                                                   .url = path,
                                                   .timeout_ms = 1000,
                                                   .send_resolved = true};
    set_receivers(receivers, count);
}

static const char *const one[] = {"file"}, *const other[] = {"other"};

static void feed(enum md_alert_state alert_state, int64_t resolved_ms)
{
    static const struct md_alert_label labels[] = {{"alertname", "cpu"}, {"server", "a"}};
    static const struct md_alert_label notes[] = {{"summary", "{server} is busy"}};
    static const struct md_alert_rule rule = {
        .name = "cpu", .severity = "", .annotation_count = 1, .annotations = notes};
    struct md_alert alert = {.rule = &rule,
                             .name = "cpu",
                             .severity = "",
                             .key = "a",
                             .column = "cpu",
                             .profile = "",
                             .state = alert_state,
                             .fingerprint = 7,
                             .active_ms = T0,
                             .fired_ms = T0,
                             .resolved_ms = resolved_ms,
                             .step_ms = 300000,
                             .label_count = 2,
                             .labels = labels};
    struct md_notify_snapshot *snapshot;
    assert_ok(md_notify_snapshot_new(&snapshot, &err));
    assert_true(md_notify_snapshot_add(snapshot, &alert, T0));
    md_notifier_feed(notifier, snapshot);
}

/* Calls it until it says true; fails the test after half a minute. */
static void wait_for(bool (*is_so)(int wanted), int wanted, const char *what)
{
    for (int i = 0; i < 3000; i++) {
        if (is_so(wanted))
            return;
        usleep(10000);
    }
    fail_msg("%s never was %d", what, wanted);
}

static int lines_of(const char *part)
{
    if (access(path, R_OK) != 0)
        return 0;
    char *text = scratch_read(path, NULL);
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    free(text);
    return count;
}

static bool has_firing(int wanted)
{
    return lines_of("\"status\":\"firing\"") == wanted;
}

static bool has_resolved(int wanted)
{
    return lines_of("\"status\":\"resolved\"") == wanted;
}

struct seen {
    int queued;
    bool failed;
};

static void look(void *context, const struct md_notifier_status *status)
{
    *(struct seen *)context = (struct seen){status->queued, status->failure[0] != '\0'};
}

static bool has_queued(int wanted)
{
    struct seen seen = {0};
    md_notifier_visit(notifier, look, &seen);
    return seen.queued == wanted;
}

static bool has_failed(int wanted)
{
    struct seen seen = {0};
    md_notifier_visit(notifier, look, &seen);
    return seen.failed == wanted;
}

static enum md_status copy_key(void *context, const struct md_store_message *message,
                               struct md_error *why)
{
    snprintf(context, MD_NOTIFY_KEY_BYTES, "%s", message->key);
    return MD_OK;
}

static bool has_stored(int wanted)
{
    char key[MD_NOTIFY_KEY_BYTES] = "";
    assert_ok(md_store_queue_read(store, key, copy_key, &err));
    return wanted == (key[0] != '\0');
}

static void what_was_told_is_not_told_again_after_a_restart(void **state)
{
    make_folder();
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_firing, 1, "lines");
    wait_for(has_queued, 0, "queue");
    assert_int_equal(lines_of("a is busy"), 1);
    close_all();
    open_all();
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    feed(MD_ALERT_INACTIVE, T0 + 60000);
    wait_for(has_resolved, 1, "resolved lines");
    assert_true(has_firing(1));
    assert_int_equal(lines_of("a is busy"), 2); /* as it was while it fired */
}

static void messages_wait_for_their_receiver_across_restarts(void **state)
{
    char key[MD_NOTIFY_KEY_BYTES] = "", wanted[MD_NOTIFY_KEY_BYTES + 16];
    configure(one, 1); /* its folder does not exist */
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_failed, 1, "failure");
    close_all();
    open_all();
    assert_ok(md_store_queue_read(store, key, copy_key, &err));
    assert_string_not_equal(key, "");
    make_folder();
    configure(one, 1);
    wait_for(has_firing, 1, "lines");
    wait_for(has_queued, 0, "queue");
    snprintf(wanted, sizeof wanted, "\"key\":\"%s\"", key);
    assert_int_equal(lines_of(wanted), 1);
    wait_for(has_stored, 0, "rows"); /* removed after sending */
}

static void a_receiver_that_works_again_gets_everything(void **state)
{
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_failed, 1, "failure");
    feed(MD_ALERT_INACTIVE, T0 + 60000);
    wait_for(has_queued, 2, "queue");
    make_folder();
    md_clock_manual_set(&time_now, T0 + 120000); /* past any pause */
    wait_for(has_resolved, 1, "resolved lines");
    assert_true(has_firing(1));
    wait_for(has_failed, 0, "failure");
}

static void a_receiver_that_is_gone_takes_its_queue_along(void **state)
{
    char key[MD_NOTIFY_KEY_BYTES] = "";
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_failed, 1, "failure");
    make_folder();
    configure(other, 1);
    wait_for(has_firing, 1, "lines"); /* a new one hears of it */
    assert_int_equal(lines_of("\"receiver\":\"other\""), 1);
    wait_for(has_queued, 0, "queue");
    close_all();
    open_all();
    assert_ok(md_store_queue_read(store, key, copy_key, &err));
    assert_string_equal(key, "");
}

static void a_path_that_is_no_file_fails(void **state)
{
    make_folder();
    assert_int_equal(mkfifo(path, 0644), 0);
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_failed, 1, "failure"); /* and does not hang */
}

/* Standard output as a pipe, while cmocka has nothing to say; what it was before. */
static int pipe_output(int ends[2])
{
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    close(ends[1]);
    return before;
}

static void restore_output(int before)
{
    dup2(before, STDOUT_FILENO);
    close(before);
}

static const struct md_notify_receiver out = {.name = "out",
                                              .target = "out",
                                              .kind = MD_NOTIFY_STDOUT,
                                              .timeout_ms = 1000,
                                              .send_resolved = true};

static void standard_output_gets_lines(void **state)
{
    int ends[2], before = pipe_output(ends);
    char line[2000] = "";
    set_receivers(&out, 1);
    feed(MD_ALERT_FIRING, 0);
    ssize_t got = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    restore_output(before);
    assert_true(got > 0 && line[got - 1] == '\n');
    assert_non_null(strstr(line, "\"receiver\":\"out\""));
    wait_for(has_queued, 0, "queue");
}

static void an_output_that_nobody_reads_keeps_nobody(void **state)
{
    static char zeros[65536];
    int ends[2], before = pipe_output(ends);
    assert_int_equal(write(STDOUT_FILENO, zeros, sizeof zeros), sizeof zeros); /* it is full */
    set_receivers(&out, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_queued, 1, "queue");
    close_all(); /* ends although it cannot write */
    open_all();
    restore_output(before);
    close(ends[0]);
    set_receivers(&out, 1);
    wait_for(has_queued, 0, "queue");
}

static void queues_are_capped_at_the_old_end(void **state)
{
    struct md__target *target = md__target_new(notifier, "x");
    assert_non_null(target);
    for (int i = 0; i < MD_NOTIFIER_QUEUE_MAX + 5; i++)
        assert_ok(md__queue_add(target, "k", i, T0, 1, "body", 4, &err));
    target->first->sending = true;
    assert_int_equal(md__queue_cap(target), 5);
    assert_int_equal(target->first->id, 0); /* it is on its way */
    assert_int_equal(target->first->next->id, 6);
    assert_int_equal(target->count, MD_NOTIFIER_QUEUE_MAX);
    md__queue_clear(target);
    static char large[1 << 20];
    for (int i = 0; i < 70; i++)
        assert_ok(md__queue_add(target, "k", i, T0, 1, large, sizeof large, &err));
    assert_int_equal(md__queue_cap(target), 6);
    assert_int_equal(target->bytes, 64 * sizeof large);
    md__target_delete(target);
}

static bool count_one(void *context, const struct md_notify_silence *silence)
{
    assert_string_equal(silence->author, "ann");
    ++*(int *)context;
    return true;
}

static void silences_survive(void **state)
{
    struct md_alert_label server = {"server", "~a.*"};
    struct md_notify_suppression why;
    int count = 0;
    make_folder();
    configure(one, 1);
    struct md_notify_silence silence = {
        .starts_ms = T0, .ends_ms = T0 + 60000, .author = "ann", .comment = "swap"};
    struct md_notify_matchers *matchers;
    assert_ok(md_notify_matchers_new(&server, 1, &matchers, &err));
    silence.matchers = matchers;
    assert_ok(md_notifier_silence_add(notifier, &silence, &err));
    close_all();
    open_all();
    configure(one, 1);
    md_notifier_silence_visit(notifier, count_one, &count);
    assert_int_equal(count, 1);
    feed(MD_ALERT_FIRING, 0);
    for (int i = 0; i < 3000 && !md_notifier_suppressed(notifier, 7, &why); i++)
        usleep(10000);
    assert_true(md_notifier_suppressed(notifier, 7, &why));
    assert_string_equal(why.silenced_by, silence.id);
    assert_true(has_firing(0));
    assert_ok(md_notifier_silence_expire(notifier, silence.id, &err));
    wait_for(has_firing, 1, "lines");
}

static void damaged_memory_begins_anew(void **state)
{
    make_folder();
    assert_ok(md_store_put_value(store, "notify.state", "rubbish", 7, &err));
    close_all();
    open_all();
    configure(one, 1);
    feed(MD_ALERT_FIRING, 0);
    wait_for(has_firing, 1, "lines");
}

static void pauses_double_up_to_a_minute(void **state)
{
    int64_t lowest = INT64_MAX, highest = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        int64_t pause_ms = md_notifier_pause_ms(3, seed);
        lowest = pause_ms < lowest ? pause_ms : lowest;
        highest = pause_ms > highest ? pause_ms : highest;
    }
    assert_in_range(lowest, 2000, 2200);
    assert_in_range(highest, 3800, 4000);
    for (int attempts = 0; attempts < 100; attempts++) {
        int64_t most = attempts < 2 ? 1000 : attempts > 6 ? 60000 : 1000LL << (attempts - 1);
        assert_in_range(md_notifier_pause_ms(attempts, 5), most / 2, most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_told_is_not_told_again_after_a_restart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(messages_wait_for_their_receiver_across_restarts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_receiver_that_works_again_gets_everything, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_receiver_that_is_gone_takes_its_queue_along, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_path_that_is_no_file_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(standard_output_gets_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_output_that_nobody_reads_keeps_nobody, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(queues_are_capped_at_the_old_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silences_survive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_memory_begins_anew, set_up, tear_down),
        cmocka_unit_test(pauses_double_up_to_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
