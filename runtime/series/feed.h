/*
 * Inside feeds: records on their way into a table.
 */
#ifndef MD_SERIES_FEED_H
#define MD_SERIES_FEED_H

#include "series/internal.h"

/* `field` names the culprit when a step of reading it fails. */
struct md__record {
    const char *key;
    int64_t time_ms;
    float values[MD_SERIES_COLUMNS_MAX];
    const char *labels[MD_SERIES_LABELS_MAX];
    const char *field;
    int64_t unknown_fields;
};

/* An unread record: nothing in it. */
void md__record_clear(const struct md_series *series, struct md__record *record);

/* The records of a body, with the text that their strings lie in. */
struct md__records {
    struct md__record *list;
    size_t count;
    char *text;
};

/*
 * Reads a body as feeders write it, in one pass and without a tree. False, for whatever is not just
 * that: then nothing is known of the body, and the general way has to read it. What it does read,
 * it reads as that would. The table need not be locked: only what never changes is looked at.
 */
bool md__feed_read_plain(const struct md_series *series, const char *body, size_t length,
                         struct md__records *records);
void md__records_fini(struct md__records *records);

#endif
