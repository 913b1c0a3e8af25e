/*
 * What the REPL can look at: tensors in a few numbers, the stages of recent requests, queues and
 * states. Everything is a copy, bounded, and pure data; how it is shown is in Lua.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/span.h"
#include "script/generation.h"
#include "script/repl_internal.h"
#include "script/tensor_object.h"
#include "serve/serve.h"

enum { FIRST_MAX = 8, SPARKS_MAX = 64, TRACES_MAX = 100 };

/* ---- tensors --------------------------------------------------------------------------------- */

struct summary {
    double min, max, sum;
    double counted, nan;
};

static void add_element(struct summary *summary, double value)
{
    if (isnan(value)) {
        summary->nan++;
        return;
    }
    summary->min = summary->counted == 0 ? value : fmin(summary->min, value);
    summary->max = summary->counted == 0 ? value : fmax(summary->max, value);
    summary->sum += value;
    summary->counted++;
}

static void set_shape(lua_State *L, const struct md_shape *shape)
{
    lua_createtable(L, shape->rank, 0);
    for (int i = 0; i < shape->rank; i++) {
        lua_pushnumber(L, (lua_Number)shape->dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "shape");
}

/* A piece of the tensor as one number: its mean, NaN when there is none. */
static double mean_of(const struct md_tensor *tensor, size_t from, size_t to)
{
    struct summary piece = {0};
    for (size_t i = from; i < to; i++)
        add_element(&piece, md__element_get(tensor, i));
    return piece.counted > 0 ? piece.sum / piece.counted : (double)NAN;
}

/* Means of equal pieces, in order: what a sparkline shows. */
static void set_sparks(lua_State *L, const struct md_tensor *tensor, size_t count)
{
    size_t pieces = count < SPARKS_MAX ? count : SPARKS_MAX;
    lua_createtable(L, (int)pieces, 0);
    for (size_t i = 0; i < pieces; i++) {
        lua_pushnumber(L, mean_of(tensor, count * i / pieces, count * (i + 1) / pieces));
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "sparks");
}

static void set_first(lua_State *L, const struct md_tensor *tensor, size_t count)
{
    size_t first = count < FIRST_MAX ? count : FIRST_MAX;
    lua_createtable(L, (int)first, 0);
    for (size_t i = 0; i < first; i++) {
        lua_pushnumber(L, md__element_get(tensor, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "first");
}

/* tensor(t) -> { dtype, shape, count, nan, min, mean, max, first, sparks } */
static int tensor(lua_State *L)
{
    const struct md_tensor *given = md__tensor_check(L, 1);
    size_t count = md_tensor_count(given);
    struct summary summary = {0};
    md__spend(L, (double)count);
    for (size_t i = 0; i < count; i++)
        add_element(&summary, md__element_get(given, i));
    lua_newtable(L);
    md__set_text(L, "dtype", md_dtype_name(given->dtype));
    set_shape(L, &given->shape);
    md__set_number(L, "count", (double)count);
    md__set_number(L, "nan", summary.nan);
    if (summary.counted > 0) {
        md__set_number(L, "min", summary.min);
        md__set_number(L, "mean", summary.sum / summary.counted);
        md__set_number(L, "max", summary.max);
    }
    set_first(L, given, count);
    if (given->shape.rank == 1)
        set_sparks(L, given, count);
    return 1;
}

/* ---- traces ---------------------------------------------------------------------------------- */

static void push_span(lua_State *L, const struct md_trace *trace, const struct md_span *span)
{
    int64_t end_ns = span->end_ns != 0 ? span->end_ns : trace->end_ns;
    lua_createtable(L, 0, 4);
    md__set_text(L, "stage", span->name);
    md__set_number(L, "depth", span->depth);
    md__set_number(L, "at_us", (double)(span->begin_ns - trace->begin_ns) / 1e3);
    md__set_number(L, "took_us", (double)(end_ns - span->begin_ns) / 1e3);
}

static void push_trace(lua_State *L, const struct md_trace *trace, bool spans)
{
    lua_createtable(L, 0, 7);
    char id[24];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)trace->id);
    md__set_text(L, "id", id);
    md__set_text(L, "request", trace->what);
    md__set_number(L, "status", trace->status);
    md__set_number(L, "begin_ms", (double)trace->begin_ms);
    md__set_number(L, "took_us", (double)(trace->end_ns - trace->begin_ns) / 1e3);
    if (!spans)
        return;
    lua_createtable(L, trace->count, 0);
    for (int i = 0; i < trace->count; i++) {
        push_span(L, trace, &trace->spans[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "stages");
    lua_pushboolean(L, trace->cut);
    lua_setfield(L, -2, "cut");
}

/* trace(id as 16 hexadecimal digits) -> { id, request, status, begin_ms, took_us, stages } | nil */
static int trace(lua_State *L)
{
    struct md_trace found;
    char *end;
    const char *text = luaL_checkstring(L, 1);
    unsigned long long id = strtoull(text, &end, 16);
    if (*text == '\0' || *end != '\0' || !md_trace_find(id, &found))
        return 0;
    push_trace(L, &found, true);
    return 1;
}

/* traces(count, slow) -> the same without stages, newest first */
static int traces(lua_State *L)
{
    int wanted = luaL_checkint(L, 1);
    bool slow = lua_toboolean(L, 2);
    luaL_argcheck(L, wanted >= 1 && wanted <= TRACES_MAX, 1, "1 to 100");
    struct md_trace *found = lua_newuserdata(L, (size_t)wanted * sizeof *found);
    int count = md_trace_recent(found, wanted, slow);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        push_trace(L, &found[i], false);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- queues ---------------------------------------------------------------------------------- */

/* queues() -> { calls, states = { total, busy, tasks, returning } } */
static int queues(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    struct md_generation *current = md__generation_current(script);
    struct md__pool_load load = md__pool_look(current->pool);
    md__generation_unref(current);
    lua_newtable(L);
    if (script->serve != NULL)
        md__set_number(L, "calls", md_serve_queue_depth(script->serve));
    lua_newtable(L);
    md__set_number(L, "total", load.states);
    md__set_number(L, "busy", load.busy);
    md__set_number(L, "tasks", load.tasks);
    md__set_number(L, "returning", load.returning);
    lua_setfield(L, -2, "states");
    return 1;
}

void md__repl_look_bind(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"tensor", tensor}, {"trace", trace}, {"traces", traces}, {"queues", queues}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
