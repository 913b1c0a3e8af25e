/*
 * Collecting spans and comparing two collections; see spans.h. Subjects are found by fingerprint in
 * a chained table, whose slots also hold the span that is open now.
 */
#include "alert/spans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct md__span_slot {
    struct md_alert_subject subject; /* first: spans point at it */
    struct md__span_slot *next;
    struct md_alert_span open;
    bool is_open;
};

static const size_t text_bytes_max = (size_t)256 << 20;

void md_alert_spans_init(struct md_alert_spans *spans, int64_t since_ms)
{
    *spans = (struct md_alert_spans){.since_ms = since_ms};
    md_arena_init(&spans->arena, text_bytes_max);
}

void md_alert_spans_fini(struct md_alert_spans *spans)
{
    md_arena_fini(&spans->arena);
    free(spans->items);
    free(spans->slots);
    *spans = (struct md_alert_spans){0};
}

/* ---- subjects -------------------------------------------------------------------------------- */

static struct md__span_slot *find(const struct md_alert_spans *spans, uint64_t fingerprint)
{
    struct md__span_slot *slot = NULL;

    if (spans->slot_capacity > 0) {
        slot = spans->slots[fingerprint & (spans->slot_capacity - 1)];
    }
    while (slot != NULL && slot->subject.fingerprint != fingerprint) {
        slot = slot->next;
    }
    return slot;
}

static bool grow_table(struct md_alert_spans *spans)
{
    size_t capacity = spans->slot_capacity > 0 ? spans->slot_capacity * 2 : 256;
    struct md__span_slot **slots = calloc(capacity, sizeof(struct md__span_slot *)), *slot;

    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < spans->slot_capacity; i++) {
        while ((slot = spans->slots[i]) != NULL) {
            struct md__span_slot **head = &slots[slot->subject.fingerprint & (capacity - 1)];
            spans->slots[i] = slot->next;
            slot->next = *head;
            *head = slot;
        }
    }
    free(spans->slots);
    spans->slots = slots;
    spans->slot_capacity = capacity;
    return true;
}

static struct md__span_slot *add(struct md_alert_spans *spans, const struct md_alert_change *change)
{
    struct md__span_slot *slot, **head;
    struct md_alert_subject *subject;

    if (spans->slot_count == spans->slot_capacity && !grow_table(spans)) {
        return NULL;
    }
    slot = md_arena_alloc(&spans->arena, sizeof *slot);
    if (slot == NULL) {
        return NULL;
    }
    subject = &slot->subject;
    subject->fingerprint = change->fingerprint;
    subject->rule = md_arena_strdup(&spans->arena, change->rule);
    subject->severity = md_arena_strdup(&spans->arena, change->severity);
    subject->key = md_arena_strdup(&spans->arena, change->key);
    subject->column = md_arena_strdup(&spans->arena, change->column);
    if (subject->rule == NULL || subject->severity == NULL || subject->key == NULL ||
        subject->column == NULL) {
        return NULL;
    }
    head = &spans->slots[change->fingerprint & (spans->slot_capacity - 1)];
    slot->next = *head;
    *head = slot;
    spans->slot_count++;
    return slot;
}

/* ---- collecting ------------------------------------------------------------------------------ */

static enum md_status append(struct md_alert_spans *spans, const struct md_alert_span *span,
                             struct md_error *err)
{
    int capacity = spans->capacity > 0 ? spans->capacity * 2 : 64;
    struct md_alert_span *items;

    if (spans->count == MD_ALERT_SPANS_MAX) {
        return md_fail(err, MD_ERR_TOO_LARGE,
                       "more than %d alerts: choose a shorter time, or one rule",
                       MD_ALERT_SPANS_MAX);
    }
    if (spans->count == spans->capacity) {
        items = realloc(spans->items, (size_t)capacity * sizeof *items);
        if (items == NULL) {
            return md_fail(err, MD_ERR_MEMORY, "no memory for %d alerts", capacity);
        }
        spans->items = items;
        spans->capacity = capacity;
    }
    spans->items[spans->count++] = *span;
    return MD_OK;
}

static enum md_status finish_span(struct md_alert_spans *spans, struct md__span_slot *slot,
                                  int64_t end_ms, struct md_error *err)
{
    struct md_alert_span *span = &slot->open;

    slot->is_open = false;
    if (end_ms != 0 && end_ms <= spans->since_ms) {
        return MD_OK;
    }
    if (span->fired_ms == 0) {
        slot->subject.unfired++;
        return MD_OK;
    }
    span->end_ms = end_ms;
    span->before = span->fired_ms < spans->since_ms;
    return append(spans, span, err);
}

static void take_value(struct md_alert_span *span, float value, float limit, bool is_below)
{
    if (!isnan(limit)) {
        span->limit = limit;
    }
    if (!isnan(value) &&
        (isnan(span->peak) || (is_below ? value < span->peak : value > span->peak))) {
        span->peak = value;
    }
}

static void open_span(struct md__span_slot *slot, const struct md_alert_change *change)
{
    slot->is_open = true;
    slot->open = (struct md_alert_span){
        .subject = &slot->subject, .active_ms = change->active_ms, .peak = NAN, .limit = NAN};
}

enum md_status md_alert_spans_change(struct md_alert_spans *spans,
                                     const struct md_alert_change *change, struct md_error *err)
{
    struct md__span_slot *slot = find(spans, change->fingerprint);
    enum md_status status = MD_OK;

    if (slot == NULL) {
        slot = add(spans, change);
    }
    if (slot == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "no memory for another alert");
    }
    if (slot->is_open && (change->to == MD_ALERT_INACTIVE ||
                          (change->to == MD_ALERT_PENDING && slot->open.fired_ms != 0))) {
        status = finish_span(spans, slot, change->time_ms, err);
    }
    if (change->to == MD_ALERT_INACTIVE || status != MD_OK) {
        return status;
    }
    if (!slot->is_open) {
        open_span(slot, change);
    }
    slot->open.active_ms = change->active_ms;
    if (change->to == MD_ALERT_FIRING && slot->open.fired_ms == 0) {
        slot->open.fired_ms = change->time_ms;
    }
    take_value(&slot->open, change->value, change->limit, change->is_below);
    return MD_OK;
}

void md_alert_spans_value(struct md_alert_spans *spans, uint64_t fingerprint, float value,
                          float limit, bool is_below)
{
    struct md__span_slot *slot = find(spans, fingerprint);

    if (slot != NULL && slot->is_open) {
        take_value(&slot->open, value, limit, is_below);
    }
}

static int compare_subjects(const struct md_alert_span *left, const struct md_alert_span *right)
{
    int order = strcmp(left->subject->rule, right->subject->rule);

    if (order == 0) {
        order = strcmp(left->subject->key, right->subject->key);
    }
    return order != 0 ? order : strcmp(left->subject->column, right->subject->column);
}

static int compare_spans(const void *left_item, const void *right_item)
{
    const struct md_alert_span *left = left_item, *right = right_item;
    int order = compare_subjects(left, right);

    if (order == 0) {
        order = (left->active_ms > right->active_ms) - (left->active_ms < right->active_ms);
    }
    return order != 0 ? order
                      : (left->fired_ms > right->fired_ms) - (left->fired_ms < right->fired_ms);
}

enum md_status md_alert_spans_finish(struct md_alert_spans *spans, struct md_error *err)
{
    enum md_status status = MD_OK;

    for (size_t i = 0; i < spans->slot_capacity; i++) {
        for (struct md__span_slot *slot = spans->slots[i]; slot != NULL && status == MD_OK;
             slot = slot->next) {
            if (slot->is_open) {
                status = finish_span(spans, slot, 0, err);
            }
        }
    }
    if (spans->count > 0) {
        qsort(spans->items, (size_t)spans->count, sizeof *spans->items, compare_spans);
    }
    return status;
}

int64_t md_alert_spans_unfired(const struct md_alert_spans *spans, const char *rule)
{
    int64_t count = 0;

    for (size_t i = 0; i < spans->slot_capacity; i++) {
        for (const struct md__span_slot *slot = spans->slots[i]; slot != NULL; slot = slot->next) {
            if (rule == NULL || strcmp(slot->subject.rule, rule) == 0) {
                count += slot->subject.unfired;
            }
        }
    }
    return count;
}

/* ---- comparing ------------------------------------------------------------------------------- */

const char *md_alert_difference_name(enum md_alert_difference_kind kind)
{
    static const char *const names[MD_ALERT_DIFFERENCES] = {"same", "changed", "added", "gone"};

    return names[kind];
}

/* A place in a finished collection. */
struct cursor {
    const struct md_alert_spans *spans;
    int at;
};

static const struct md_alert_span *look(const struct cursor *cursor)
{
    return cursor->at < cursor->spans->count ? &cursor->spans->items[cursor->at] : NULL;
}

static int64_t end_of(const struct md_alert_span *span)
{
    return span->end_ms != 0 ? span->end_ms : INT64_MAX;
}

/* Takes the spans of `first`'s subject that begin no later than *end_ms, and moves that on. */
static int take_overlapping(struct cursor *cursor, const struct md_alert_span *first,
                            int64_t *end_ms)
{
    const struct md_alert_span *span;
    int taken = 0;

    while ((span = look(cursor)) != NULL && compare_subjects(span, first) == 0 &&
           span->active_ms <= *end_ms) {
        if (end_of(span) > *end_ms) {
            *end_ms = end_of(span);
        }
        cursor->at++;
        taken++;
    }
    return taken;
}

static enum md_alert_difference_kind judge(const struct md_alert_difference *difference,
                                           int64_t since_ms)
{
    const struct md_alert_span *fresh = difference->fresh, *old = difference->old;

    if (difference->old_count == 0) {
        return MD_ALERT_ADDED;
    }
    if (difference->fresh_count == 0) {
        return MD_ALERT_GONE;
    }
    if (difference->fresh_count != difference->old_count) {
        return MD_ALERT_CHANGED;
    }
    for (int i = 0; i < difference->old_count; i++) {
        int64_t fresh_ms = fresh[i].fired_ms, old_ms = old[i].fired_ms;
        bool both_before = fresh_ms < since_ms && old_ms < since_ms;
        if ((fresh_ms != old_ms && !both_before) || fresh[i].end_ms != old[i].end_ms ||
            strcmp(fresh[i].subject->severity, old[i].subject->severity) != 0) {
            return MD_ALERT_CHANGED;
        }
    }
    return MD_ALERT_SAME;
}

static struct md_alert_difference take(struct cursor *fresh, struct cursor *old)
{
    struct md_alert_difference difference = {.fresh = look(fresh), .old = look(old)};
    const struct md_alert_span *first =
        difference.old == NULL ||
                (difference.fresh != NULL && compare_spans(difference.fresh, difference.old) <= 0)
            ? difference.fresh
            : difference.old;
    int64_t end_ms = end_of(first);
    int taken;

    do {
        taken = take_overlapping(fresh, first, &end_ms);
        difference.fresh_count += taken;
        int more = take_overlapping(old, first, &end_ms);
        difference.old_count += more;
        taken += more;
    } while (taken > 0);
    difference.fresh = difference.fresh_count > 0 ? difference.fresh : NULL;
    difference.old = difference.old_count > 0 ? difference.old : NULL;
    return difference;
}

bool md_alert_spans_compare(const struct md_alert_spans *fresh, const struct md_alert_spans *old,
                            bool (*visit)(void *context, const struct md_alert_difference *),
                            void *context)
{
    struct cursor in_fresh = {.spans = fresh}, in_old = {.spans = old};
    bool goes_on = true;

    while (goes_on && (look(&in_fresh) != NULL || look(&in_old) != NULL)) {
        struct md_alert_difference difference = take(&in_fresh, &in_old);
        difference.kind = judge(&difference, fresh->since_ms);
        goes_on = visit(context, &difference);
    }
    return goes_on;
}
