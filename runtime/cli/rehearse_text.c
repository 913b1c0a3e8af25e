/*
 * A rehearsal on a terminal: a block for each rule with the timelines of both sides one above the
 * other, what differs, grades, and what cannot be known; one sentence at the end.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/rehearse.h"

enum { LISTED_MAX = 20 };

/* ---- pieces ---------------------------------------------------------------------------------- */

double md__rehearse_number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

int64_t md__rehearse_int(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

const char *md__rehearse_string(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

void md__rehearse_time(const struct md__rehearse_view *view, const json_t *ms,
                       char text[MD__TIME_TEXT_BYTES])
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t utc_ms = json_integer_value(ms);
    struct md_civil civil;

    if (!json_is_integer(ms)) {
        snprintf(text, MD__TIME_TEXT_BYTES, "...");
        return;
    }
    md_civil_from_ms(utc_ms + (int64_t)md_timezone_offset_s(view->zone, utc_ms) * 1000, &civil);
    snprintf(text, MD__TIME_TEXT_BYTES, "%d %s %02d:%02d", civil.day, months[civil.month - 1],
             civil.hour, civil.minute);
    if (civil.second != 0) {
        size_t length = strlen(text);
        snprintf(text + length, MD__TIME_TEXT_BYTES - length, ":%02d", civil.second);
    }
}

void md__rehearse_duration(double minutes, char text[MD__TIME_TEXT_BYTES])
{
    double whole = floor(minutes + 0.5);

    if (minutes < 1) {
        snprintf(text, MD__TIME_TEXT_BYTES, "%.0f s", minutes * 60);
    } else if (whole < 60) {
        snprintf(text, MD__TIME_TEXT_BYTES, "%.0f min", whole);
    } else if (fmod(whole, 60) == 0) {
        snprintf(text, MD__TIME_TEXT_BYTES, "%.0f h", whole / 60);
    } else {
        snprintf(text, MD__TIME_TEXT_BYTES, "%.0f h %.0f min", floor(whole / 60), fmod(whole, 60));
    }
}

/* ---- the head -------------------------------------------------------------------------------- */

static void print_doubts(const struct md__rehearse_view *view)
{
    const json_t *report = view->report, *begins = json_object_get(report, "history_begins_ms");
    char time[MD__TIME_TEXT_BYTES], length[MD__TIME_TEXT_BYTES];
    double gap_min = md__rehearse_number(report, "gap_ms") / 60000;

    if (json_is_null(begins)) {
        fputs("The history is empty: nothing was kept yet.\n", view->out);
    } else if (json_integer_value(begins) > md__rehearse_int(report, "since_ms")) {
        md__rehearse_time(view, begins, time);
        fprintf(view->out, "The history begins at %s: nothing is known before.\n", time);
    } else if (json_integer_value(begins) > md__rehearse_int(report, "begin_ms")) {
        md__rehearse_time(view, begins, time);
        fprintf(view->out,
                "The history begins at %s: what fired before may be missing at the beginning.\n",
                time);
    }
    if (gap_min > 0) {
        md__rehearse_duration(gap_min, length);
        fprintf(view->out, "For %s of it nothing was evaluated.\n", length);
    }
    if (md__rehearse_int(report, "damaged") > 0) {
        fprintf(view->out, "%lld damaged frames were left out.\n",
                (long long)md__rehearse_int(report, "damaged"));
    }
}

static void print_head(const struct md__rehearse_view *view)
{
    const json_t *report = view->report;
    char since[MD__TIME_TEXT_BYTES], until[MD__TIME_TEXT_BYTES];
    bool is_recorded = strcmp(md__rehearse_string(report, "against"), "recorded") == 0;

    md__rehearse_time(view, json_object_get(report, "since_ms"), since);
    md__rehearse_time(view, json_object_get(report, "until_ms"), until);
    fprintf(view->out, "%s to %s, %s, %lld frames\n", since, until, view->zone_name,
            (long long)md__rehearse_int(report, "frames"));
    fprintf(view->out, "new: the rules of %s\n", md__rehearse_string(report, "path"));
    if (is_recorded) {
        fputs("old: what was recorded\n", view->out);
    } else {
        fprintf(view->out, "old: the rules that serve, generation %lld\n",
                (long long)md__rehearse_int(report, "generation"));
    }
    print_doubts(view);
}

/* ---- timelines ------------------------------------------------------------------------------- */

/* How many alerts fire in a column of the terminal: a digit; unknown: a blank. */
static char mark(const json_t *timeline, const char *known, size_t begin, size_t end)
{
    json_int_t most = 0;
    bool is_known = false;

    for (size_t i = begin; i < end; i++) {
        json_int_t count = json_integer_value(json_array_get(timeline, i));
        most = count > most ? count : most;
        is_known = is_known || known[i] == '1';
    }
    if (most == 0) {
        return is_known ? '.' : ' ';
    }
    return most < 10 ? (char)('0' + most) : '+';
}

static void print_timeline(const struct md__rehearse_view *view, const char *name,
                           const json_t *side)
{
    const json_t *timeline = json_object_get(side, "timeline");
    const char *known = md__rehearse_string(view->report, "known");
    size_t bins = json_array_size(timeline), columns = (size_t)view->width - 8;

    if (bins == 0 || strlen(known) != bins) {
        return;
    }
    columns = columns < bins ? columns : bins;
    fprintf(view->out, "  %s  |", name);
    for (size_t i = 0; i < columns; i++) {
        fputc(mark(timeline, known, i * bins / columns, (i + 1) * bins / columns), view->out);
    }
    fputs("|\n", view->out);
}

/* The beginning, the middle and the end, below their columns. */
static void print_axis(const struct md__rehearse_view *view)
{
    int64_t since_ms = md__rehearse_int(view->report, "since_ms");
    int64_t until_ms = md__rehearse_int(view->report, "until_ms");
    int columns = view->width - 8, bins = (int)strlen(md__rehearse_string(view->report, "known"));
    char texts[3][MD__TIME_TEXT_BYTES];
    int middle, end;

    for (int i = 0; i < 3; i++) {
        json_t *time = json_integer(since_ms + (until_ms - since_ms) * i / 2);
        md__rehearse_time(view, time, texts[i]);
        json_decref(time);
    }
    columns = columns < bins ? columns : bins;
    middle = (columns - (int)strlen(texts[1])) / 2 - (int)strlen(texts[0]);
    end = columns - (int)strlen(texts[2]) - (int)strlen(texts[0]) - middle - (int)strlen(texts[1]);
    if (middle > 0 && end > 0) {
        fprintf(view->out, "        %s%*s%s%*s%s\n", texts[0], middle, "", texts[1], end, "",
                texts[2]);
    }
}

/* ---- differences ----------------------------------------------------------------------------- */

static void print_times(const struct md__rehearse_view *view, const json_t *spans)
{
    char begin[MD__TIME_TEXT_BYTES], end[MD__TIME_TEXT_BYTES];
    const json_t *span;
    size_t i;

    json_array_foreach(spans, i, span)
    {
        md__rehearse_time(view, json_object_get(span, "fired_ms"), begin);
        md__rehearse_time(view, json_object_get(span, "end_ms"), end);
        fprintf(view->out, "%s%s%s - %s", i > 0 ? ", " : "",
                json_is_true(json_object_get(span, "before")) ? "before " : "", begin,
                json_is_null(json_object_get(span, "end_ms")) ? "still firing" : end);
    }
}

static void print_peak(const struct md__rehearse_view *view, const json_t *span)
{
    double peak = md__rehearse_number(span, "peak"), limit = md__rehearse_number(span, "limit");

    if (!isnan(peak)) {
        fprintf(view->out, ", peak %.4g", peak);
    }
    if (!isnan(limit)) {
        fprintf(view->out, ", limit %.4g", limit);
    }
}

/* "fires 5 min later, ends 2 min earlier" */
static void print_shift(const struct md__rehearse_view *view, const char *words, const json_t *new,
                        const json_t *old, const char *name)
{
    double minutes = (md__rehearse_number(new, name) - md__rehearse_number(old, name)) / 60000;
    char text[MD__TIME_TEXT_BYTES];

    if (!isnan(minutes) && minutes != 0) {
        md__rehearse_duration(fabs(minutes), text);
        fprintf(view->out, ", %s %s %s", words, text, minutes > 0 ? "later" : "earlier");
    }
}

static void print_change(const struct md__rehearse_view *view, const json_t *new, const json_t *old)
{
    const json_t *first = json_array_get(new, 0), *before = json_array_get(old, 0);
    const char *severity = md__rehearse_string(first, "severity");

    fputs(" instead of ", view->out);
    print_times(view, old);
    if (json_array_size(new) == 1 && json_array_size(old) == 1) {
        print_shift(view, "fires", first, before, "fired_ms");
        print_shift(view, "ends", first, before, "end_ms");
    }
    if (strcmp(severity, md__rehearse_string(before, "severity")) != 0) {
        fprintf(view->out, ", now %s", severity[0] != '\0' ? severity : "without severity");
    }
}

static void print_difference(const struct md__rehearse_view *view, const json_t *difference)
{
    const json_t *new = json_object_get(difference, "new");
    const json_t *old = json_object_get(difference, "old");
    const json_t *shown = json_array_size(new) > 0 ? new : old;
    const char *key = md__rehearse_string(difference, "key");
    const char *metric = md__rehearse_string(difference, "metric");

    fprintf(view->out, "  %-7s  %s%s%s  ", md__rehearse_string(difference, "kind"), key,
            key[0] != '\0' && metric[0] != '\0' ? " " : "", metric);
    print_times(view, shown);
    if (json_array_size(new) > 0 && json_array_size(old) > 0) {
        print_change(view, new, old);
    }
    print_peak(view, json_array_get(shown, 0));
    fputc('\n', view->out);
}

static void print_differences(const struct md__rehearse_view *view, const json_t *rule)
{
    const json_t *difference;
    long long more = md__rehearse_int(rule, "omitted");
    size_t i;

    json_array_foreach(json_object_get(rule, "differences"), i, difference)
    {
        if (strcmp(md__rehearse_string(difference, "kind"), "same") == 0) {
            continue;
        }
        if (i < LISTED_MAX) {
            print_difference(view, difference);
        } else {
            more++;
        }
    }
    if (more > 0) {
        fprintf(view->out, "  ... and %lld more: see --json\n", more);
    }
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void print_counts(const struct md__rehearse_view *view, const char *name, const json_t *side)
{
    long long alerts = md__rehearse_int(side, "alerts"), before = md__rehearse_int(side, "before");
    char firing[MD__TIME_TEXT_BYTES];

    if (!json_is_object(side)) {
        fprintf(view->out, "%s: no such rule", name);
        return;
    }
    fprintf(view->out, "%s: %lld alert%s", name, alerts, alerts == 1 ? "" : "s");
    if (alerts > 0) {
        md__rehearse_duration(md__rehearse_number(side, "firing_min"), firing);
        fprintf(view->out, ", %s of firing", firing);
    }
    if (before > 0) {
        fprintf(view->out, ", %lld fired before", before);
    }
    if (md__rehearse_int(side, "unfired") > 0) {
        fprintf(view->out, ", %lld only pending", (long long)md__rehearse_int(side, "unfired"));
    }
}

static void print_grades(const struct md__rehearse_view *view, const char *name, const json_t *side)
{
    const json_t *grades = json_object_get(side, "grades");
    double precision = md__rehearse_number(grades, "precision");
    double recall = md__rehearse_number(grades, "recall");
    double lead_min = md__rehearse_number(grades, "lead_min_median");

    if (!json_is_object(grades)) {
        return;
    }
    fprintf(view->out, "  %s grades:", name);
    if (!isnan(precision)) {
        fprintf(view->out, " precision %.2f", precision);
    }
    if (!isnan(recall)) {
        fprintf(view->out, " recall %.2f", recall);
    }
    if (!isnan(lead_min)) {
        fprintf(view->out, " median lead %.0f min", lead_min);
    }
    fprintf(
        view->out, " (%lld hit, %lld early, %lld late, %lld false, %lld missed)\n",
        (long long)md__rehearse_int(grades, "hit"), (long long)md__rehearse_int(grades, "early"),
        (long long)md__rehearse_int(grades, "late"), (long long)md__rehearse_int(grades, "false"),
        (long long)md__rehearse_int(grades, "missed"));
}

static void print_lacks(const struct md__rehearse_view *view, const char *name, const json_t *side)
{
    const json_t *lack, *watch = json_object_get(side, "watch");
    bool is_forecast = strcmp(md__rehearse_string(watch, "kind"), "forecast") == 0;
    size_t i;

    json_array_foreach(json_object_get(side, "lacks"), i, lack)
    {
        long long absent = md__rehearse_int(lack, "absent"),
                  shorter = md__rehearse_int(lack, "shorter"),
                  frames = md__rehearse_int(lack, "frames");
        fprintf(view->out, "  %sunknown: %s", name, md__rehearse_string(lack, "name"));
        if (is_forecast) {
            fprintf(view->out, " (quantile %g, %g min ahead)",
                    md__rehearse_number(watch, "quantile"),
                    md__rehearse_number(watch, "within_min"));
        }
        if (absent > 0) {
            fprintf(view->out, " is not in %lld of %lld frames", absent, frames);
        }
        if (shorter > 0) {
            fprintf(view->out, "%s reaches less far in %lld of %lld frames",
                    absent > 0 ? " and" : "", shorter, frames);
        }
        fputc('\n', view->out);
    }
}

static void print_errors(const struct md__rehearse_view *view, const char *name, const json_t *side)
{
    if (md__rehearse_int(side, "errors") > 0) {
        fprintf(view->out, "  %s: failed at %lld frames: %s\n", name,
                (long long)md__rehearse_int(side, "errors"), md__rehearse_string(side, "error"));
    }
}

/* What both sides lack is told once. */
static void print_doubts_of(const struct md__rehearse_view *view, const json_t *new,
                            const json_t *old)
{
    bool same = json_equal(json_object_get(new, "lacks"), json_object_get(old, "lacks")) &&
                json_equal(json_object_get(new, "watch"), json_object_get(old, "watch"));

    print_lacks(view, same ? "" : "new: ", new);
    if (!same) {
        print_lacks(view, "old: ", old);
    }
    print_errors(view, "new", new);
    print_errors(view, "old", old);
}

static bool is_quiet(const json_t *side)
{
    return json_is_object(side) && md__rehearse_int(side, "alerts") == 0 &&
           md__rehearse_int(side, "unfired") == 0;
}

/* There is nothing to say of it but its name. */
static bool is_calm(const json_t *rule)
{
    static const char *const sides[] = {"new", "old"};
    bool calm = true;

    for (int i = 0; i < 2; i++) {
        const json_t *side = json_object_get(rule, sides[i]);
        calm = calm && is_quiet(side) && md__rehearse_int(side, "errors") == 0 &&
               json_array_size(json_object_get(side, "lacks")) == 0;
    }
    return calm;
}

static void print_rule(const struct md__rehearse_view *view, const json_t *rule)
{
    const json_t *new = json_object_get(rule, "new"), *old = json_object_get(rule, "old");
    const char *severity = md__rehearse_string(rule, "severity");

    fprintf(view->out, "\n%s%s%s%s  ", md__rehearse_string(rule, "rule"),
            severity[0] != '\0' ? " (" : "", severity, severity[0] != '\0' ? ")" : "");
    if (is_quiet(new) && is_quiet(old)) {
        fputs("no alert, as before\n", view->out);
    } else {
        print_counts(view, "new", new);
        fputs("; ", view->out);
        print_counts(view, "old", old);
        fputc('\n', view->out);
    }
    if (md__rehearse_int(new, "alerts") + md__rehearse_int(old, "alerts") > 0) {
        print_timeline(view, "new", new);
        print_timeline(view, "old", old);
        print_axis(view);
    }
    print_differences(view, rule);
    print_grades(view, "new", new);
    print_grades(view, "old", old);
    print_doubts_of(view, new, old);
}

static void print_calm(const struct md__rehearse_view *view)
{
    const char *separator = "\nno alert, as before: ";
    const json_t *rule;
    size_t i;

    json_array_foreach(json_object_get(view->report, "rules"), i, rule)
    {
        if (is_calm(rule)) {
            fprintf(view->out, "%s%s", separator, md__rehearse_string(rule, "rule"));
            separator = ", ";
        }
    }
    fputs(separator[0] == ',' ? "\n" : "", view->out);
}

void md__rehearse_print(const struct md__rehearse_view *view)
{
    const json_t *rule;
    size_t i;

    print_head(view);
    json_array_foreach(json_object_get(view->report, "rules"), i, rule)
    {
        if (!is_calm(rule)) {
            print_rule(view, rule);
        }
    }
    print_calm(view);
    fprintf(view->out, "\n%s\n", md__rehearse_string(view->report, "summary"));
}
