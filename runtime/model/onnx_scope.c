/* Names and the values that they stand for; see onnx_build.h. */
#include <string.h>

#include "model/onnx_build.h"

enum { NESTING_MAX = 64 };

enum md_status md__onnx_enter(struct md__onnx_reader *reader, struct md_error *err)
{
    if (reader->depth >= NESTING_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "subgraphs and functions nest more than %d deep",
                       NESTING_MAX);
    reader->depth++;
    return MD_OK;
}

void md__onnx_leave(struct md__onnx_reader *reader)
{
    reader->depth--;
}

/* FNV-1a from a start that differs between runs, so that no file is made of collisions. */
static size_t hash(const struct md__onnx_scope *scope, const char *name)
{
    uint64_t state = 14695981039346656037u ^ (uint64_t)(uintptr_t)scope->reader;
    for (; *name; name++)
        state = (state ^ (uint8_t)*name) * 1099511628211u;
    return (size_t)(state ^ state >> 32);
}

/* The name's place, or the free one where it belongs. The table is never full. */
static struct md__onnx_name *place(const struct md__onnx_scope *scope, const char *name)
{
    size_t mask = scope->name_capacity - 1, at = hash(scope, name) & mask;
    while (scope->names[at].name && strcmp(scope->names[at].name, name) != 0)
        at = (at + 1) & mask;
    return &scope->names[at];
}

static enum md_status make_room(struct md__onnx_scope *scope, struct md_error *err)
{
    if (scope->name_count * 2 < scope->name_capacity)
        return MD_OK;
    struct md__onnx_scope larger = *scope;
    larger.name_capacity = scope->name_capacity ? scope->name_capacity * 2 : 32;
    larger.names =
        md_arena_array(&scope->reader->arena, larger.name_capacity, sizeof *larger.names);
    if (!larger.names)
        return md__onnx_no_memory(err);
    for (size_t i = 0; i < scope->name_capacity; i++)
        if (scope->names[i].name)
            *place(&larger, scope->names[i].name) = scope->names[i];
    scope->names = larger.names;
    scope->name_capacity = larger.name_capacity;
    return MD_OK;
}

bool md__onnx_bound(const struct md__onnx_scope *scope, const char *name)
{
    return scope->name_capacity && place(scope, name)->name;
}

enum md_status md__onnx_bind(struct md__onnx_scope *scope, const char *name, int value,
                             struct md_error *err)
{
    enum md_status status = make_room(scope, err);
    if (status)
        return status;
    struct md__onnx_name *found = place(scope, name);
    if (found->name)
        return md_fail(err, MD_ERR_CORRUPT, "two values are called \"%.80s\"", name);
    *found = (struct md__onnx_name){name, value};
    scope->name_count++;
    return MD_OK;
}

static enum md_status note_capture(struct md__onnx_scope *scope, int outer_value,
                                   struct md_error *err)
{
    if (scope->capture_count == scope->capture_capacity) {
        int larger = scope->capture_capacity ? scope->capture_capacity * 2 : 16;
        int *copy = md_arena_array(&scope->reader->arena, (size_t)larger, sizeof *copy);
        if (!copy)
            return md__onnx_no_memory(err);
        if (scope->capture_count)
            memcpy(copy, scope->captures, (size_t)scope->capture_count * sizeof *copy);
        scope->captures = copy;
        scope->capture_capacity = larger;
    }
    scope->captures[scope->capture_count++] = outer_value;
    return MD_OK;
}

enum md_status md__onnx_capture(struct md__onnx_scope *scope, const char *name, int outer_value,
                                struct md_error *err)
{
    struct md_shape any = {.rank = MD_RANK_UNKNOWN};
    enum md_dtype dtype = md__onnx_dtype_of(scope->outer->body, outer_value);
    int value = MD_NONE;
    if (!dtype)
        return md_fail(err, MD_ERR_UNSUPPORTED,
                       "the type of \"%.80s\", which a subgraph uses, is not known before a run",
                       name);
    enum md_status status = md_graph_input(scope->body->graph, name, dtype, &any, &value, err);
    if (!status)
        status = md__onnx_note_dtype(scope->reader, scope->body, value, dtype, err);
    if (!status)
        status = note_capture(scope, outer_value, err);
    return status ? status : md__onnx_bind(scope, name, value, err);
}

enum md_status md__onnx_find(struct md__onnx_scope *scope, const char *name, int *value,
                             struct md_error *err)
{
    int around = MD_NONE;
    *value = MD_NONE;
    if (!name[0])
        return MD_OK;
    if (md__onnx_bound(scope, name)) {
        *value = place(scope, name)->value;
        return MD_OK;
    }
    if (!scope->outer)
        return md_fail(err, MD_ERR_CORRUPT, "no value is called \"%.80s\"", name);
    enum md_status status = md__onnx_find(scope->outer, name, &around, err);
    if (status)
        return status;
    if (scope->body == scope->outer->body) { /* its nodes stand where its node stood */
        *value = around;
        return MD_OK;
    }
    if (around == MD_NONE)
        return md__onnx_bind(scope, name, MD_NONE, err);
    const struct md_value *outer = &scope->outer->body->graph->values[around];
    if (outer->constant.data) {
        status = md__onnx_add_constant(scope, name, &outer->constant, value, err);
        return status ? status : md__onnx_bind(scope, name, *value, err);
    }
    status = md__onnx_capture(scope, name, around, err);
    *value = status ? MD_NONE : place(scope, name)->value;
    return status;
}

enum md_status md__onnx_version(const struct md__onnx_scope *scope, const char *domain,
                                int64_t *version, struct md_error *err)
{
    for (size_t i = 0; i < scope->opset_count; i++) {
        if (strcmp(scope->opsets[i].domain, domain) == 0) {
            *version = scope->opsets[i].version;
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_CORRUPT, "the domain \"%.80s\" is not imported",
                   domain[0] ? domain : "ai.onnx");
}
