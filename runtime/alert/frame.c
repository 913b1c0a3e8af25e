/*
 * Frames as bytes; frame.h has the layout, frame_read.c the way back.
 *
 * A channel's row of finite numbers is rounded to q of 65535 parts between its smallest and largest
 * number. What a row decodes to must encode to itself, or a rehearsal would see other numbers than
 * were live. It does: a number v goes to the nearest part x, and x to the nearest float w. As v is
 * a float too, w is no farther from x than v is, so x is the nearest part to w as well; and both
 * ends are exact. (w could lie in the middle of two parts only where parts are about as far apart
 * as floats, and there 65535, being odd, keeps parts off the middle of two floats.) Rows with a NaN
 * or an infinity among other numbers are kept exactly; rows of one number, the common NaN included,
 * are one number.
 */
#include "alert/frame.h"

#include <math.h>
#include <string.h>

/* ---- rows ------------------------------------------------------------------------------------ */

static uint16_t rounded(float low, float high, float value)
{
    double part = ((double)value - (double)low) / ((double)high - (double)low) * MD__FRAME_PARTS;
    return part >= MD__FRAME_PARTS ? 65535 : part > 0 ? (uint16_t)lrint(part) : 0;
}

/* Fills q[count]; false: the row has to be kept exactly. */
static bool round_row(const float *row, int count, float *low, float *high, uint16_t *q)
{
    *low = *high = row[0];
    for (int i = 0; i < count; i++) {
        if (!isfinite(row[i]))
            return false;
        *low = row[i] < *low ? row[i] : *low;
        *high = row[i] > *high ? row[i] : *high;
    }
    if (!((double)*high - (double)*low > 0)) /* zeros of both signs */
        return false;
    for (int i = 0; i < count; i++)
        q[i] = rounded(*low, *high, row[i]);
    return true;
}

/* Equal bits, so that a NaN equals itself and the zeros stay two. */
static bool is_constant(const float *cells, int count, int stride)
{
    for (int i = 1; i < count; i++)
        if (memcmp(&cells[0], &cells[(size_t)i * (size_t)stride], sizeof *cells) != 0)
            return false;
    return true;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static void put_byte(struct md_buffer *out, unsigned char byte)
{
    md_buffer_append(out, &byte, 1);
}

/* A run of `count` >= 1 cells that lie `stride` apart. */
static void put_cells(struct md_buffer *out, const float *cells, int count, int stride)
{
    bool constant = is_constant(cells, count, stride);
    put_byte(out, constant ? MD__FRAME_CONSTANT : MD__FRAME_EXACT);
    for (int i = 0; i < (constant ? 1 : count); i++)
        md_buffer_append(out, &cells[(size_t)i * (size_t)stride], sizeof *cells);
}

static void put_row(struct md_buffer *out, const float *row, int count)
{
    float ends[2];
    uint16_t q[MD_ALERT_STEPS_MAX];
    if (is_constant(row, count, 1) || !round_row(row, count, &ends[0], &ends[1], q)) {
        put_cells(out, row, count, 1);
        return;
    }
    put_byte(out, MD__FRAME_ROUNDED);
    md_buffer_append(out, ends, sizeof ends);
    md_buffer_append(out, q, (size_t)count * sizeof *q);
}

static void put_known(struct md_buffer *out, const unsigned char *known, size_t count)
{
    size_t ones = 0;
    for (size_t i = 0; i < count; i++)
        ones += known[i] != 0;
    if (ones == 0 || ones == count) {
        put_byte(out, ones == 0 ? MD__FRAME_ALL_UNKNOWN : MD__FRAME_ALL_KNOWN);
        return;
    }
    put_byte(out, MD__FRAME_BITS);
    for (size_t i = 0; i < count; i += 8) {
        unsigned char bits = 0;
        for (size_t bit = 0; bit < 8 && i + bit < count; bit++)
            bits |= (unsigned char)((known[i + bit] != 0) << bit);
        put_byte(out, bits);
    }
}

static void put_texts(struct md_buffer *out, const char *const *texts, int count)
{
    for (int i = 0; i < count; i++)
        md_buffer_append(out, texts[i], strlen(texts[i]) + 1);
}

static void put_names(struct md_buffer *out, const struct md_alert_frame *frame)
{
    const struct md__frame_head head = {
        .format = MD__FRAME_FORMAT,
        .keys = (uint32_t)frame->key_count,
        .columns = (uint32_t)frame->column_count,
        .channels = (uint32_t)frame->channel_count,
        .gauges = (uint32_t)frame->gauge_count,
        .step_ms = frame->step_ms,
    };
    md_buffer_append(out, &head, sizeof head);
    for (int i = 0; i < frame->channel_count; i++) {
        const struct md_alert_channel *channel = &frame->channels[i];
        const struct md__frame_channel shape = {channel->step_ms, (uint32_t)channel->steps,
                                                channel->quantile};
        md_buffer_append(out, &shape, sizeof shape);
    }
    put_texts(out, frame->keys, frame->key_count);
    put_texts(out, frame->profiles, frame->key_count);
    put_texts(out, frame->columns, frame->column_count);
    for (int i = 0; i < frame->channel_count; i++)
        put_texts(out, &frame->channels[i].column, 1);
    for (int i = 0; i < frame->gauge_count; i++)
        put_texts(out, &frame->gauges[i].name, 1);
}

static void put_numbers(struct md_buffer *out, const struct md_alert_frame *frame)
{
    md_buffer_append(out, &frame->time_ms, sizeof frame->time_ms);
    put_known(out, frame->known, (size_t)frame->key_count * (size_t)frame->column_count);
    for (int c = 0; frame->key_count > 0 && c < frame->column_count; c++)
        put_cells(out, frame->values + c, frame->key_count, frame->column_count);
    for (int i = 0; i < frame->channel_count; i++) {
        const struct md_alert_channel *channel = &frame->channels[i];
        for (int k = 0; channel->steps > 0 && k < frame->key_count; k++)
            put_row(out, channel->values + (size_t)k * (size_t)channel->steps, channel->steps);
    }
    for (int i = 0; i < frame->gauge_count; i++)
        md_buffer_append(out, &frame->gauges[i].value, sizeof frame->gauges[i].value);
}

static enum md_status check_frame(const struct md_alert_frame *frame, struct md_error *err)
{
    if (frame->key_count < 0 || frame->column_count < 0 || frame->channel_count < 0 ||
        frame->gauge_count < 0)
        return md_fail(err, MD_ERR_INVALID, "a frame's counts are not negative");
    for (int i = 1; i < frame->key_count; i++)
        if (strcmp(frame->keys[i - 1], frame->keys[i]) >= 0)
            return md_fail(err, MD_ERR_INVALID, "a frame's keys are in order: '%s' before '%s'",
                           frame->keys[i - 1], frame->keys[i]);
    for (int i = 0; i < frame->channel_count; i++)
        if (frame->channels[i].steps < 0 || frame->channels[i].steps > MD_ALERT_STEPS_MAX)
            return md_fail(err, MD_ERR_INVALID, "a forecast of %s has %d steps, not 0 .. %d",
                           frame->channels[i].column, frame->channels[i].steps, MD_ALERT_STEPS_MAX);
    return MD_OK;
}

enum md_status md_alert_frame_encode(const struct md_alert_frame *frame, struct md_buffer *bytes,
                                     struct md_error *err)
{
    uint32_t names_bytes = 0;
    enum md_status status = check_frame(frame, err);
    if (status != MD_OK)
        return status;
    md_buffer_clear(bytes);
    md_buffer_append(bytes, &names_bytes, sizeof names_bytes);
    put_names(bytes, frame);
    if ((status = md_buffer_check(bytes, err)) != MD_OK)
        return status;
    if (bytes->length > MD_ALERT_FRAME_BYTES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "a frame has at most %d MiB",
                       MD_ALERT_FRAME_BYTES_MAX >> 20);
    names_bytes = (uint32_t)(bytes->length - sizeof names_bytes);
    memcpy(bytes->data, &names_bytes, sizeof names_bytes);
    put_numbers(bytes, frame);
    return md_buffer_check(bytes, err);
}
