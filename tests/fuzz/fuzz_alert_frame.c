/*
 * Kept frames of alerts: any bytes are a frame or refused, and what was a frame encodes to one that
 * decodes to the same numbers, bit for bit.
 */
#include <string.h>

#include "alert/history.h"
#include "fuzz.h"

static struct md_alert_record once, twice;

static void compare(const struct md_alert_frame *a, const struct md_alert_frame *b)
{
    size_t cells = (size_t)a->key_count * (size_t)a->column_count;
    assert(a->time_ms == b->time_ms && a->key_count == b->key_count);
    assert(a->column_count == b->column_count && a->channel_count == b->channel_count);
    assert(cells == 0 || memcmp(a->values, b->values, cells * sizeof *a->values) == 0);
    assert(cells == 0 || memcmp(a->known, b->known, cells) == 0);
    for (int i = 0; i < a->channel_count; i++) {
        size_t floats = (size_t)a->key_count * (size_t)a->channels[i].steps;
        assert(a->channels[i].steps == b->channels[i].steps);
        assert(floats == 0 || memcmp(a->channels[i].values, b->channels[i].values,
                                     floats * sizeof *a->channels[i].values) == 0);
    }
}

static void round_trip(const struct md_alert_frame *frame, struct md_alert_record *record)
{
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    assert(md_alert_frame_encode(frame, &bytes, NULL) == MD_OK);
    assert(md_alert_frame_decode(bytes.data, bytes.length, record, NULL) == MD_OK);
    md_buffer_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_alert_record record = {0};
    struct md_error err;
    enum md_status status = md_alert_frame_decode(data, size, &record, &err);
    assert(status == MD_OK || status == MD_ERR_CORRUPT || status == MD_ERR_MEMORY);
    if (status == MD_OK) {
        round_trip(&record.frame, &once);
        round_trip(&once.frame, &twice);
        compare(&once.frame, &twice.frame);
    }
    md_alert_record_fini(&record);
    return 0;
}
