/*
 * A rehearsal as one self-contained page: for each rule the timelines of both sides, what differs,
 * and plots of what was watched around it, with limits. Nothing in it is fetched or run.
 */
#include <math.h>
#include <string.h>

#include "cli/rehearse.h"

enum {
    LINE_WIDTH = 960,
    LINE_ROW = 18,
    PLOT_WIDTH = 470,
    PLOT_HEIGHT = 170,
    PLOT_LEFT = 44,
    PLOT_BOTTOM = 132, /* of the curves; times and spans stand below */
    TICKS = 6
};

static const char style[] =
    "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:980px;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin:2em 0 .3em}svg{display:block;margin:.4em 0}"
    "text{font:11px system-ui,sans-serif;fill:#555}table{border-collapse:collapse}"
    "td,th{padding:.1em .8em .1em 0;text-align:left;vertical-align:top}.added{color:#b00020}"
    ".gone{color:#00702a}.changed{color:#9a5b00}.same{color:#777}.plots{display:flex;"
    "flex-wrap:wrap;gap:10px}figure{margin:0}figcaption{font-size:12px}.doubt{color:#9a5b00}";

/* ---- text ------------------------------------------------------------------------------------ */

static void put(const struct md__rehearse_view *view, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", view->out);
            break;
        case '>':
            fputs("&gt;", view->out);
            break;
        case '&':
            fputs("&amp;", view->out);
            break;
        case '"':
            fputs("&quot;", view->out);
            break;
        default:
            fputc(*text, view->out);
        }
    }
}

static void put_time(const struct md__rehearse_view *view, int64_t ms)
{
    char text[MD__TIME_TEXT_BYTES];
    json_t *number = json_integer(ms);

    md__rehearse_time(view, number, text);
    put(view, text);
    json_decref(number);
}

/* ---- timelines ------------------------------------------------------------------------------- */

/* Equal neighbours are one rectangle. */
static void draw_row(const struct md__rehearse_view *view, const json_t *side, const char *colour,
                     int y)
{
    const json_t *timeline = json_object_get(side, "timeline");
    const char *known = md__rehearse_string(view->report, "known");
    size_t bins = strlen(known), begin = 0;

    for (size_t i = 1; i <= bins; i++) {
        json_int_t count = json_integer_value(json_array_get(timeline, begin));
        if (i < bins && known[i] == known[begin] &&
            json_integer_value(json_array_get(timeline, i)) == count) {
            continue;
        }
        if (count > 0 || known[begin] == '0') {
            fprintf(view->out,
                    "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\" "
                    "opacity=\"%.2f\"/>",
                    40 + (double)begin * (LINE_WIDTH - 40) / (double)bins, y,
                    (double)(i - begin) * (LINE_WIDTH - 40) / (double)bins, LINE_ROW - 4,
                    count > 0 ? colour : "#ddd",
                    count > 0 ? fmin(1, 0.4 + 0.1 * (double)count) : 1);
        }
        begin = i;
    }
}

static void draw_times(const struct md__rehearse_view *view, int64_t begin_ms, int64_t end_ms,
                       double left, double width, int y)
{
    for (int i = 0; i <= TICKS; i++) {
        fprintf(view->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">",
                left + width * i / TICKS, y,
                i == 0       ? "start"
                : i == TICKS ? "end"
                             : "middle");
        put_time(view, begin_ms + (end_ms - begin_ms) * i / TICKS);
        fputs("</text>", view->out);
    }
}

static void draw_timelines(const struct md__rehearse_view *view, const json_t *rule)
{
    int64_t since_ms = md__rehearse_int(view->report, "since_ms");
    int64_t until_ms = md__rehearse_int(view->report, "until_ms");

    fprintf(view->out,
            "<svg viewBox=\"0 0 %d %d\" width=\"100%%\"><text x=\"0\" y=\"12\">new</text>"
            "<text x=\"0\" y=\"%d\">old</text>",
            LINE_WIDTH, 2 * LINE_ROW + 16, LINE_ROW + 12);
    draw_row(view, json_object_get(rule, "new"), "#c2185b", 1);
    draw_row(view, json_object_get(rule, "old"), "#1565c0", LINE_ROW + 1);
    draw_times(view, since_ms, until_ms, 40, LINE_WIDTH - 40, 2 * LINE_ROW + 12);
    fputs("</svg>\n", view->out);
}

/* ---- plots ----------------------------------------------------------------------------------- */

/* Where numbers and times lie on a plot. */
struct scale {
    double low, high;
    int64_t begin_ms, end_ms;
};

static double x_of(const struct scale *scale, int64_t ms)
{
    double share = (double)(ms - scale->begin_ms) / (double)(scale->end_ms - scale->begin_ms);

    return PLOT_LEFT + (PLOT_WIDTH - PLOT_LEFT) * fmin(fmax(share, 0), 1);
}

static double y_of(const struct scale *scale, double value)
{
    return PLOT_BOTTOM - (PLOT_BOTTOM - 6) * (value - scale->low) / (scale->high - scale->low);
}

static void widen(struct scale *scale, double value)
{
    if (!isnan(value)) {
        scale->low = fmin(scale->low, value);
        scale->high = fmax(scale->high, value);
    }
}

static double element(const json_t *array, size_t index)
{
    const json_t *value = json_array_get(array, index);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void widen_all(struct scale *scale, const json_t *plot)
{
    static const char *const names[] = {"values", "forecasts"}, *const sides[] = {"new", "old"};
    const json_t *span;
    size_t k;

    for (int i = 0; i < 2; i++) {
        const json_t *array = json_object_get(plot, names[i]);
        for (k = 0; k < json_array_size(array); k++) {
            widen(scale, element(array, k));
        }
        json_array_foreach(json_object_get(plot, sides[i]), k, span)
        {
            widen(scale, md__rehearse_number(span, "limit"));
        }
    }
    if (!(scale->high > scale->low)) { /* one number, or none */
        scale->low = isfinite(scale->low) ? scale->low - 1 : 0;
        scale->high = scale->low + 2;
    }
}

/* A break in the numbers, or a time without frames, is a break in the line. */
static void draw_curve(const struct md__rehearse_view *view, const struct scale *scale,
                       const json_t *plot, const char *name, const char *look)
{
    const json_t *times = json_object_get(plot, "times_ms"), *values = json_object_get(plot, name);
    int64_t step_ms = md__rehearse_int(view->report, "step_ms"), before_ms = 0;

    fprintf(view->out, "<path fill=\"none\" %s d=\"", look);
    for (size_t i = 0; i < json_array_size(values); i++) {
        int64_t time_ms = json_integer_value(json_array_get(times, i));
        double value = element(values, i);
        if (!isnan(value)) {
            fprintf(view->out, "%c%.1f %.1f", time_ms - before_ms < 2 * step_ms ? 'L' : 'M',
                    x_of(scale, time_ms), y_of(scale, value));
            before_ms = time_ms;
        }
    }
    fputs("\"/>", view->out);
}

/* The limit as a line, and when alerts fired as a bar below. */
static void draw_spans(const struct md__rehearse_view *view, const struct scale *scale,
                       const json_t *spans, const char *colour, int y)
{
    const json_t *span, *end;
    double limit;
    size_t i;

    json_array_foreach(spans, i, span)
    {
        end = json_object_get(span, "end_ms");
        double left = x_of(scale, md__rehearse_int(span, "fired_ms"));
        double right = x_of(scale, json_is_integer(end) ? json_integer_value(end) : scale->end_ms);
        fprintf(view->out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"6\" fill=\"%s\"/>",
                left, y, fmax(right - left, 1), colour);
        limit = md__rehearse_number(span, "limit");
        if (i == 0 && !isnan(limit)) {
            fprintf(view->out,
                    "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                    "stroke-dasharray=\"2 3\"/>",
                    PLOT_LEFT, PLOT_WIDTH, y_of(scale, limit), y_of(scale, limit), colour);
        }
    }
}

static void draw_plot(const struct md__rehearse_view *view, const json_t *plot)
{
    struct scale scale = {INFINITY, -INFINITY, md__rehearse_int(plot, "begin_ms"),
                          md__rehearse_int(plot, "end_ms")};
    const char *kind = md__rehearse_string(plot, "kind");
    const json_t *times = json_object_get(plot, "times_ms");
    size_t count = json_array_size(times);

    if (count == 0) {
        return;
    }
    scale.begin_ms = json_integer_value(json_array_get(times, 0));
    scale.end_ms = json_integer_value(json_array_get(times, count - 1));
    scale.end_ms += scale.end_ms == scale.begin_ms;
    widen_all(&scale, plot);
    fprintf(view->out, "<figure><figcaption><span class=\"%s\">%s</span> ", kind, kind);
    put(view, md__rehearse_string(plot, "key"));
    fputs(" ", view->out);
    put(view, md__rehearse_string(plot, "metric"));
    fprintf(view->out,
            "</figcaption><svg viewBox=\"0 0 %d %d\" width=\"%d\">"
            "<text x=\"%d\" y=\"14\" text-anchor=\"end\">%.4g</text>"
            "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text>",
            PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH, PLOT_LEFT - 4, scale.high, PLOT_LEFT - 4,
            PLOT_BOTTOM, scale.low);
    draw_curve(view, &scale, plot, "forecasts",
               "stroke=\"#8e24aa\" stroke-dasharray=\"4 2\" stroke-width=\"1.2\"");
    draw_curve(view, &scale, plot, "values", "stroke=\"#333\" stroke-width=\"1.4\"");
    draw_spans(view, &scale, json_object_get(plot, "new"), "#c2185b", PLOT_BOTTOM + 6);
    draw_spans(view, &scale, json_object_get(plot, "old"), "#1565c0", PLOT_BOTTOM + 14);
    fprintf(view->out, "<text x=\"%d\" y=\"%d\">", PLOT_LEFT, PLOT_HEIGHT - 4);
    put_time(view, scale.begin_ms);
    fprintf(view->out, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">", PLOT_WIDTH,
            PLOT_HEIGHT - 4);
    put_time(view, scale.end_ms);
    fputs("</text></svg></figure>\n", view->out);
}

static void draw_plots(const struct md__rehearse_view *view, const char *rule)
{
    const json_t *plot;
    size_t i;

    fputs("<div class=\"plots\">\n", view->out);
    json_array_foreach(json_object_get(view->report, "plots"), i, plot)
    {
        if (strcmp(md__rehearse_string(plot, "rule"), rule) == 0) {
            draw_plot(view, plot);
        }
    }
    fputs("</div>\n", view->out);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void put_spans(const struct md__rehearse_view *view, const json_t *spans)
{
    const json_t *span, *end;
    size_t i;

    fputs("<td>", view->out);
    json_array_foreach(spans, i, span)
    {
        end = json_object_get(span, "end_ms");
        fputs(i > 0 ? "<br>" : "", view->out);
        put_time(view, md__rehearse_int(span, "fired_ms"));
        fputs(" &ndash; ", view->out);
        if (json_is_integer(end)) {
            put_time(view, json_integer_value(end));
        } else {
            fputs("still firing", view->out);
        }
    }
    fputs("</td>", view->out);
}

static void draw_differences(const struct md__rehearse_view *view, const json_t *rule)
{
    const json_t *difference;
    size_t i;

    fputs("<table>", view->out);
    json_array_foreach(json_object_get(rule, "differences"), i, difference)
    {
        const char *kind = md__rehearse_string(difference, "kind");
        if (i == 0) {
            fputs("<tr><th></th><th></th><th>new</th><th>old</th></tr>", view->out);
        }
        fprintf(view->out, "<tr><td class=\"%s\">%s</td><td>", kind, kind);
        put(view, md__rehearse_string(difference, "key"));
        fputs(" ", view->out);
        put(view, md__rehearse_string(difference, "metric"));
        fputs("</td>", view->out);
        put_spans(view, json_object_get(difference, "new"));
        put_spans(view, json_object_get(difference, "old"));
        fputs("</tr>\n", view->out);
    }
    fputs("</table>\n", view->out);
}

static void draw_lacks(const struct md__rehearse_view *view, const json_t *side)
{
    const json_t *lack;
    size_t i;

    json_array_foreach(json_object_get(side, "lacks"), i, lack)
    {
        fputs("<p class=\"doubt\">Unknown: ", view->out);
        put(view, md__rehearse_string(lack, "name"));
        fprintf(view->out,
                " is missing in %lld, and reaches less far in %lld of %lld frames.</p>\n",
                (long long)md__rehearse_int(lack, "absent"),
                (long long)md__rehearse_int(lack, "shorter"),
                (long long)md__rehearse_int(lack, "frames"));
    }
}

static void draw_rule(const struct md__rehearse_view *view, const json_t *rule)
{
    const json_t *new = json_object_get(rule, "new"), *old = json_object_get(rule, "old");

    fputs("<h2>", view->out);
    put(view, md__rehearse_string(rule, "rule"));
    fputs("</h2>\n", view->out);
    if (json_is_object(new)) {
        fprintf(view->out, "<p>%lld alerts", (long long)md__rehearse_int(new, "alerts"));
    } else {
        fputs("<p>not a rule any more", view->out);
    }
    if (json_is_object(old)) {
        fprintf(view->out, " instead of %lld.</p>\n", (long long)md__rehearse_int(old, "alerts"));
    } else {
        fputs("; a new rule.</p>\n", view->out);
    }
    draw_lacks(view, new);
    draw_timelines(view, rule);
    draw_differences(view, rule);
    draw_plots(view, md__rehearse_string(rule, "rule"));
}

void md__rehearse_draw(const struct md__rehearse_view *view)
{
    const json_t *rule;
    size_t i;

    fprintf(view->out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<title>Rehearsal</title><style>%s</style></head><body>\n<h1>",
            style);
    put(view, md__rehearse_string(view->report, "summary"));
    fputs("</h1>\n<p>", view->out);
    put(view, md__rehearse_string(view->report, "path"));
    fputs(", ", view->out);
    put_time(view, md__rehearse_int(view->report, "since_ms"));
    fputs(" to ", view->out);
    put_time(view, md__rehearse_int(view->report, "until_ms"));
    fputs(", ", view->out);
    put(view, view->zone_name);
    fprintf(view->out, ", %lld frames; new beside what %s.</p>\n",
            (long long)md__rehearse_int(view->report, "frames"),
            strcmp(md__rehearse_string(view->report, "against"), "recorded") == 0 ? "was recorded"
                                                                                  : "serves");
    json_array_foreach(json_object_get(view->report, "rules"), i, rule)
    {
        draw_rule(view, rule);
    }
    fputs("</body></html>\n", view->out);
}
