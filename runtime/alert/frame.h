/*
 * A frame's bytes have two parts: *names* (everything that seldom changes: keys, profiles, columns,
 * which channels and gauges there are) and *cells* (the time and all numbers). The store keeps
 * equal names once, and a reader that meets the same names again reads cells only.
 *
 *     bytes    u32 length of names, names, cells
 *     names    struct md__frame_head, a struct md__frame_channel for each channel, then texts, each
 *              with its NUL: keys, profiles, columns, the channels' columns, gauges
 *     cells    i64 time_ms; known, as a byte ALL_UNKNOWN, ALL_KNOWN, or BITS and a bit a cell; a
 *              run for each column of values; a run for each entity of each channel; an f64 for
 *              each gauge
 *     run      a byte CONSTANT and one f32; or EXACT and all f32; or, in channels only, ROUNDED,
 *              the smallest and largest f32, and a u16 for each number
 *
 * Numbers are in the byte order of the machine: a state folder stays where it is.
 */
#ifndef MD_ALERT_FRAME_H
#define MD_ALERT_FRAME_H

#include "alert/history.h"

#define MD__FRAME_FORMAT 1
#define MD__FRAME_PARTS  65535.0

enum { MD__FRAME_CONSTANT, MD__FRAME_ROUNDED, MD__FRAME_EXACT };
enum { MD__FRAME_ALL_UNKNOWN, MD__FRAME_ALL_KNOWN, MD__FRAME_BITS };

struct md__frame_head {
    uint32_t format, keys, columns, channels, gauges, padding;
    int64_t step_ms;
};
struct md__frame_channel {
    int64_t step_ms;
    uint32_t steps;
    float quantile;
};

/* Exact at both ends: products of a float and a 16-bit number have no rounding in double. */
static inline float md__frame_unrounded(float low, float high, uint16_t q)
{
    return (float)(((double)low * (MD__FRAME_PARTS - q) + (double)high * q) / MD__FRAME_PARTS);
}

struct md__frame_parts {
    const void *names, *cells;
    size_t names_bytes, cells_bytes;
};

/* Where the parts of encoded bytes lie. */
enum md_status md__frame_split(const void *bytes, size_t length, struct md__frame_parts *parts,
                               struct md_error *err);
/* Makes the record's frame one with these names, and with numbers that mean nothing until
 * md__frame_cells has filled them in, as often as one likes. */
enum md_status md__frame_names(struct md_alert_record *record, const void *names, size_t bytes,
                               struct md_error *err);
enum md_status md__frame_cells(struct md_alert_record *record, const void *cells, size_t bytes,
                               struct md_error *err);

#endif
