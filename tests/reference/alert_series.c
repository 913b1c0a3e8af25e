/*
 * Runs the alert engine over series that somebody else made, and says after each tick what is
 * active, for a comparison with Prometheus (tests/reference/prometheus):
 *
 *     alert_series < LINES        in this order:
 *
 *         columns NAME ...
 *         server NAME PROFILE          in byte order; -: no profile
 *         rule NAME WATCH COLUMN,... SIDE LIMIT CLEAR FOR KEEP WITHIN MAX LABEL
 *             WATCH: current, forecast or absent; SIDE: above or below; LIMIT and CLEAR:
 *             "5" or "5,database=9" (- none: of the others); FOR, KEEP and WITHIN in minutes;
 *             MAX: instances, 0 any; LABEL: "name=value" or -
 *         tick MINUTE
 *         values SERVER NUMBER ...     a number a column; _: nothing sent
 *         forecast COLUMN SERVER NUMBER ...
 *
 *     alert_series --table        prints the scenarios of alert_scenarios.inc, split by tabs
 *     alert_series --time N       evaluates the last tick's frame N times more and prints how many
 *                                 nanoseconds each took, sorted, then how many alerts there are
 *
 * A line "tick MINUTE" is answered, when the next one comes, by that line, one "error RULE: TEXT"
 * for each rule that has one, and one for each alert: its labels as Prometheus writes them,
 * alertstate among them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/alert.h"
#include "base/clock.h"

enum { KEYS_MAX = 1000, COLUMNS_MAX = 32, RULES_MAX = 1000, STEPS = 12, LIST_MAX = 32 };

#define STEP_MS  60000LL
#define START_MS 1767225600000LL

static struct world {
    char *keys[KEYS_MAX], *profiles[KEYS_MAX], *columns[COLUMNS_MAX];
    int key_count, column_count, rule_count;
    struct md_alert_rule rules[RULES_MAX];
    float values[KEYS_MAX * COLUMNS_MAX];
    float forecasts[COLUMNS_MAX][KEYS_MAX * STEPS];
    unsigned char known[KEYS_MAX * COLUMNS_MAX];
    struct md_alert_channel channels[COLUMNS_MAX];
    struct md_alert_engine *engine;
    long minute; /* of the tick that is being read; -1: none */
} world = {.minute = -1};

static void die(const char *why, const char *what)
{
    fprintf(stderr, "alert_series: %s: %s\n", why, what);
    exit(2);
}

static void check(enum md_status status, const struct md_error *err)
{
    if (status != MD_OK)
        die(md_status_name(status), err->text);
}

static char *word(void)
{
    char *next = strtok(NULL, " \n");
    if (!next)
        die("a line is too short", "");
    return next;
}

static int find(char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    die("unknown", name);
    return 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int split(char *text, char **parts)
{
    int count = 0;
    for (char *rest = text, *part; (part = strsep(&rest, ",")) != NULL && count < LIST_MAX;)
        parts[count++] = strdup(part);
    return count;
}

static struct md_alert_limit read_limit(char *text)
{
    struct md_alert_limit limit = {.fallback = NAN};
    char **parts = calloc(LIST_MAX, sizeof *parts);
    float *values = calloc(LIST_MAX, sizeof *values);
    int count = split(text, parts);
    if (strcmp(parts[0], "-") != 0)
        limit.fallback = strtof(parts[0], NULL);
    for (int i = 1; i < count; i++) {
        char *equals = strchr(parts[i], '=');
        if (!equals)
            die("a limit of a profile is NAME=NUMBER, not", parts[i]);
        *equals = '\0';
        values[i - 1] = strtof(equals + 1, NULL);
        limit.profile_count++;
    }
    limit.profiles = (const char *const *)parts + 1;
    limit.values = values;
    return limit;
}

static enum md_alert_watch read_watch(const char *text)
{
    static const char *const names[] = {[MD_ALERT_CURRENT] = "current",
                                        [MD_ALERT_FORECAST] = "forecast",
                                        [MD_ALERT_ABSENT] = "absent"};
    for (int i = 0; i < 3; i++)
        if (strcmp(names[i], text) == 0)
            return (enum md_alert_watch)i;
    die("no kind of rule", text);
    return MD_ALERT_CURRENT;
}

static void read_rule(void)
{
    if (world.rule_count == RULES_MAX)
        die("too many", "rules");
    struct md_alert_rule *rule = &world.rules[world.rule_count++];
    char **columns = calloc(LIST_MAX, sizeof *columns);
    rule->name = strdup(word());
    rule->severity = "warning";
    rule->watch = read_watch(word());
    rule->column_count = split(word(), columns);
    rule->columns = (const char *const *)columns;
    rule->is_below = strcmp(word(), "below") == 0;
    rule->limit = read_limit(word());
    rule->clear = read_limit(word());
    rule->for_ms = atol(word()) * 60000;
    rule->keep_firing_ms = atol(word()) * 60000;
    rule->within_ms = atol(word()) * 60000;
    rule->instances_max = atoi(word());
    rule->quantile = 0.5f;
    char *label = word(), *equals = strchr(label, '=');
    if (equals) {
        struct md_alert_label *own = calloc(1, sizeof *own);
        *equals = '\0';
        own->name = strdup(label);
        own->value = strdup(equals + 1);
        rule->labels = own;
        rule->label_count = 1;
    }
}

static void read_columns(void)
{
    for (char *name; (name = strtok(NULL, " \n")) != NULL; world.column_count++) {
        if (world.column_count == COLUMNS_MAX)
            die("too many", "columns");
        world.columns[world.column_count] = strdup(name);
    }
}

static void read_server(void)
{
    if (world.key_count == KEYS_MAX)
        die("too many", "servers");
    world.keys[world.key_count] = strdup(word());
    char *profile = word();
    world.profiles[world.key_count++] = strdup(strcmp(profile, "-") == 0 ? "" : profile);
}

static float read_number(void)
{
    const char *text = word();
    return strcmp(text, "_") == 0 ? NAN : strtof(text, NULL);
}

static void read_values(void)
{
    int key = find(world.keys, world.key_count, word());
    for (int c = 0; c < world.column_count; c++) {
        float value = read_number();
        world.values[key * world.column_count + c] = value;
        world.known[key * world.column_count + c] |= !isnan(value);
    }
}

static void read_forecast(void)
{
    int column = find(world.columns, world.column_count, word());
    int key = find(world.keys, world.key_count, word());
    for (int s = 0; s < STEPS; s++)
        world.forecasts[column][key * STEPS + s] = read_number();
}

/* ---- running --------------------------------------------------------------------------------- */

static struct md_alert_frame frame(void)
{
    for (int c = 0; c < world.column_count; c++)
        world.channels[c] = (struct md_alert_channel){.column = world.columns[c],
                                                      .quantile = 0.5f,
                                                      .step_ms = STEP_MS,
                                                      .steps = STEPS,
                                                      .values = world.forecasts[c]};
    return (struct md_alert_frame){.time_ms = START_MS + world.minute * STEP_MS,
                                   .step_ms = STEP_MS,
                                   .key_count = world.key_count,
                                   .keys = (const char *const *)world.keys,
                                   .profiles = (const char *const *)world.profiles,
                                   .column_count = world.column_count,
                                   .columns = (const char *const *)world.columns,
                                   .values = world.values,
                                   .known = world.known,
                                   .channel_count = world.column_count,
                                   .channels = world.channels};
}

static void begin(void)
{
    struct md_alert_rules *set;
    struct md_error err;
    check(md_alert_rules_new(world.rules, world.rule_count, &set, &err), &err);
    check(md_alert_engine_new("server", &world.engine, &err), &err);
    md_alert_engine_set_rules(world.engine, set);
    md_alert_rules_unref(set);
}

static bool count_alert(void *context, const struct md_alert *alert)
{
    *(int *)context += alert->state != MD_ALERT_INACTIVE;
    return true;
}

static bool print_alert(void *context, const struct md_alert *alert)
{
    (void)context;
    if (alert->state == MD_ALERT_INACTIVE)
        return true;
    printf("{alertstate=\"%s\"", alert->state == MD_ALERT_PENDING ? "pending" : "firing");
    for (int i = 0; i < alert->label_count; i++)
        printf(",%s=\"%s\"", alert->labels[i].name, alert->labels[i].value);
    printf("}\n");
    return true;
}

/* The tick that has been read. */
static void tick(bool is_quiet)
{
    struct md_error err;
    if (world.minute < 0)
        return;
    if (!world.engine)
        begin();
    struct md_alert_frame now = frame();
    check(md_alert_engine_tick(world.engine, &now, NULL, NULL, &err), &err);
    if (is_quiet)
        return;
    printf("tick %ld\n", world.minute);
    for (int r = 0; r < world.rule_count; r++) {
        struct md_alert_rule_health health;
        md_alert_rule_health(world.engine, r, &health);
        if (health.error[0])
            printf("error %s: %s\n", world.rules[r].name, health.error);
    }
    md_alert_engine_visit(world.engine, print_alert, NULL);
}

static int compare_times(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void time_ticks(int count)
{
    int64_t *times_ns = calloc((size_t)count + 1, sizeof *times_ns);
    for (int i = 0; i < count; i++) {
        world.minute++;
        int64_t begun_ns = md_monotonic_ns(md_clock_system());
        tick(true);
        times_ns[i] = md_monotonic_ns(md_clock_system()) - begun_ns;
    }
    qsort(times_ns, (size_t)count, sizeof *times_ns, compare_times);
    for (int i = 0; i < count; i++)
        printf("%lld\n", (long long)times_ns[i]);
    int alerts = 0;
    md_alert_engine_visit(world.engine, count_alert, &alerts);
    printf("%d\n", alerts);
    free(times_ns);
}

static void read_line(char *line, bool is_quiet)
{
    const char *kind = strtok(line, " \n");
    if (!kind)
        return;
    if (strcmp(kind, "columns") == 0)
        read_columns();
    else if (strcmp(kind, "server") == 0)
        read_server();
    else if (strcmp(kind, "rule") == 0)
        read_rule();
    else if (strcmp(kind, "values") == 0)
        read_values();
    else if (strcmp(kind, "forecast") == 0)
        read_forecast();
    else if (strcmp(kind, "tick") == 0) {
        tick(is_quiet);
        world.minute = atol(word());
    } else
        die("no such line", kind);
}

/* ---- the table ------------------------------------------------------------------------------- */

struct scenario {
    const char *name;
    int for_min, keep_firing_min;
    float clear;
    enum md_alert_no_data no_data;
    const char *values, *states;
};

static void print_table(void)
{
    static const struct scenario scenarios[] = {
#include "../unit/alert_scenarios.inc"
    };
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        printf("%s\t%d\t%d\t%g\t%d\t%s\t%s\n", scenarios[i].name, scenarios[i].for_min,
               scenarios[i].keep_firing_min, (double)scenarios[i].clear, (int)scenarios[i].no_data,
               scenarios[i].values, scenarios[i].states);
}

int main(int argc, char **argv)
{
    size_t size = 0;
    char *line = NULL;
    bool is_timed = argc == 3 && strcmp(argv[1], "--time") == 0;
    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        print_table();
        return 0;
    }
    while (getline(&line, &size, stdin) > 0)
        read_line(line, is_timed);
    free(line);
    tick(is_timed);
    if (is_timed)
        time_ticks(atoi(argv[2]));
    md_alert_engine_delete(world.engine);
    return 0;
}
