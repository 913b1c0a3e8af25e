/*
 * See flame.h. Stacks in order of their text have equal beginnings side by side, so a box is a
 * range of stacks with the same frames up to a depth: drawn by walking down the ranges.
 */
#include "base/flame.h"

#include <string.h>

enum {
    WIDTH = 1200,
    MARGIN = 10,
    HEAD = 34, /* above the boxes */
    FOOT = 26, /* below */
    ROW = 18,  /* height of a box, with the gap */
    DEPTH_MAX = 64,
    LETTER_10 = 66 /* width of a letter, tenths of a pixel */
};

struct picture {
    const struct md_flame_stack *stacks;
    uint64_t total; /* samples */
    double interval_ms;
    int height;
    struct md_buffer *out;
};

/* The frame at a depth, not terminated; NULL: the stack is not so deep. */
static const char *frame_at(const char *text, int depth, size_t *length)
{
    for (; depth > 0; depth--) {
        text = strchr(text, ';');
        if (text == NULL)
            return NULL;
        text++;
    }
    *length = strcspn(text, ";");
    return text;
}

static uint64_t sum(const struct md_flame_stack *stacks, int begin, int end)
{
    uint64_t total = 0;
    for (int i = begin; i < end; i++)
        total += stacks[i].count;
    return total;
}

static int depth_of(const char *text)
{
    int depth = 1;
    for (; *text != '\0'; text++)
        depth += *text == ';';
    return depth < DEPTH_MAX ? depth : DEPTH_MAX;
}

static void escape(struct md_buffer *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '&')
            md_buffer_text(out, "&amp;");
        else if (byte == '<')
            md_buffer_text(out, "&lt;");
        else if (byte == '>')
            md_buffer_text(out, "&gt;");
        else if (byte == '"')
            md_buffer_text(out, "&quot;");
        else if (byte < 0x20 || byte > 0x7E)
            md_buffer_text(out, "?");
        else
            md_buffer_append(out, text + i, 1);
    }
}

/* Functions of scripts are green, stages of C blue, of a steady shade for each name. */
static void write_colour(struct md_buffer *out, const char *frame, size_t length)
{
    unsigned shade = 0;
    for (size_t i = 0; i < length; i++)
        shade = shade * 31 + (unsigned char)frame[i];
    bool lua = memmem(frame, length, ".lua:", 5) != NULL;
    md_buffer_printf(out, "hsl(%u,55%%,%u%%)", (lua ? 95u : 205u) + shade % 25, 68 + shade % 13);
}

static void draw_box(const struct picture *picture, const char *frame, size_t length, int depth,
                     uint64_t before, uint64_t count)
{
    struct md_buffer *out = picture->out;
    double scale = (double)(WIDTH - 2 * MARGIN) / (double)picture->total;
    double x = MARGIN + (double)before * scale, width = (double)count * scale;
    int y = picture->height - FOOT - (depth + 1) * ROW;
    size_t room = width > 8 ? (size_t)((width - 6) * 10 / LETTER_10) : 0;
    md_buffer_text(out, "<g><title>");
    escape(out, frame, length);
    md_buffer_printf(out, " (%.4g ms, %.1f%%)</title>", (double)count * picture->interval_ms,
                     100.0 * (double)count / (double)picture->total);
    md_buffer_printf(out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\" fill=\"",
                     x, y, width > 0.6 ? width - 0.4 : 0.2, ROW - 1);
    write_colour(out, frame, length);
    md_buffer_text(out, "\"/>");
    if (room >= 3) {
        md_buffer_printf(out, "<text x=\"%.1f\" y=\"%d\">", x + 3, y + 13);
        escape(out, frame, length < room ? length : room - 2);
        md_buffer_text(out, length < room ? "</text>" : "..</text>");
    }
    md_buffer_text(out, "</g>\n");
}

/* The boxes of stacks [begin, end), which agree up to depth; before: samples to the left. */
static void draw(const struct picture *picture, int begin, int end, int depth, uint64_t before)
{
    size_t length = 0, other_length = 0;
    while (begin < end && depth < DEPTH_MAX) {
        const char *frame = frame_at(picture->stacks[begin].text, depth, &length);
        int last = begin + 1;
        for (; last < end; last++) {
            const char *other = frame_at(picture->stacks[last].text, depth, &other_length);
            bool same = frame != NULL && other != NULL && length == other_length &&
                        memcmp(frame, other, length) == 0;
            if (!same && !(frame == NULL && other == NULL))
                break;
        }
        uint64_t count = sum(picture->stacks, begin, last);
        if (frame != NULL) {
            draw_box(picture, frame, length, depth, before, count);
            draw(picture, begin, last, depth + 1, before);
        }
        before += count;
        begin = last;
    }
}

void md_flame_svg(const struct md_flame_stack *stacks, int count, double interval_ms,
                  struct md_buffer *out)
{
    struct picture picture = {stacks, sum(stacks, 0, count), interval_ms, 0, out};
    int deepest = 1;
    for (int i = 0; i < count; i++) {
        int depth = depth_of(stacks[i].text);
        deepest = depth > deepest ? depth : deepest;
    }
    picture.height = HEAD + deepest * ROW + FOOT;
    md_buffer_printf(out,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                     "viewBox=\"0 0 %d %d\">\n"
                     "<style>text{font:11px monospace;fill:#1c2733}g:hover rect{stroke:#1c2733}"
                     "</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fbfbf9\"/>\n"
                     "<text x=\"%d\" y=\"22\">%llu samples, one every %.3g ms of every busy "
                     "thread; stages of C blue, Lua green</text>\n",
                     WIDTH, picture.height, WIDTH, picture.height, MARGIN,
                     (unsigned long long)picture.total, interval_ms);
    if (picture.total > 0)
        draw(&picture, 0, count, 0, 0);
    md_buffer_text(out, "</svg>\n");
}
