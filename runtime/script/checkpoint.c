/*
 * Budgets of time and of C stack. LuaJIT's hooks do not fire inside compiled loops, so the loader
 * writes a checkpoint into every file: at the head of each function and each loop body and before
 * each goto, a call of a C function through the FFI, which the compiler keeps and which costs about
 * one percent. The checkpoint looks at the clock once in a while; past the end of the running slice
 * it makes the script raise, again and again until it has left every pcall and the task has ended.
 * It looks at the stack pointer each time: LuaJIT counts Lua's own frames, not those of C below
 * callbacks and nested coroutines, and the end of the C stack is the end of the process.
 *
 * The pass is a scanner of tokens, not a parser: it knows strings, comments and names, and inserts
 * text on the line where it is, so that line numbers stay what they are. The names that it inserts
 * are locals of the chunk, given to it as its first two arguments.
 */
#include <ctype.h>
#include <lualib.h>
#include <string.h>

#include "script/internal.h"

/* Calls between two looks at the clock; a power of two. */
enum { LOOK_EVERY = 64 };

static const char checkpoint_key[] = "moondial.checkpoint";
static const char reserved[] = "md__"; /* a script with these could lift its own budget */
static const char prologue[] = "local md__ck,md__stop=...;";
static const char inserted[] = " if md__ck.md__script_checkpoint()~=0 then md__stop()end; ";

/* ---- at run time ----------------------------------------------------------------------------- */

/* The state that this thread runs Lua on: an FFI call has no lua_State to ask. */
static _Thread_local struct md__state *running;

struct md__state *md__checkpoint_enter(struct md__state *state)
{
    struct md__state *before = running;
    running = state;
    return before;
}

static bool is_deep(const struct md__state *state)
{
    return (uintptr_t)__builtin_frame_address(0) < state->stack_end;
}

/* Called by scripts through the FFI, found by its name in the executable. */
int md__script_checkpoint(void)
{
    struct md__state *state = running;
    if (state != NULL && is_deep(state))
        return 1;
    if (state == NULL || state->budget_end_ns == 0 || ++state->checks % LOOK_EVERY != 0)
        return 0;
    return md_monotonic_ns(state->script->clock) > state->budget_end_ns;
}

static int stop(lua_State *L)
{
    if (is_deep(md__state(L)))
        return luaL_error(L, "stack overflow (callbacks or coroutines nested too deep)");
    md__state(L)->checks = LOOK_EVERY - 1; /* look again at once, should this be caught */
    return luaL_error(L, "runs longer than its time budget");
}

/* ---- at load --------------------------------------------------------------------------------- */

/* Runs where ffi is in reach and leaves the namespace of C in the registry. */
static const char declaration[] = "local ffi = ...\n"
                                  "ffi.cdef 'int md__script_checkpoint(void);'\n"
                                  "return ffi.C\n";

void md__checkpoint_open(lua_State *L)
{
    if (luaL_loadbuffer(L, declaration, sizeof declaration - 1, "=checkpoint") != 0)
        lua_error(L);
    lua_pushcfunction(L, luaopen_ffi);
    lua_pushstring(L, LUA_FFILIBNAME);
    lua_call(L, 1, 1);
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, checkpoint_key);
}

int md__checkpoint_push(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, checkpoint_key);
    lua_pushcfunction(L, stop);
    return 2;
}

/* ---- the pass -------------------------------------------------------------------------------- */

struct scan {
    const char *text, *end, *at;
    const char *copied; /* what lies before is in out */
    struct md_buffer *out;
    bool names_ours; /* a name of the text begins like the inserted ones */
    bool in_header;  /* between `function` and its parameters' closing parenthesis */
};

static void insert_at(struct scan *scan, const char *place)
{
    md_buffer_append(scan->out, scan->copied, (size_t)(place - scan->copied));
    md_buffer_append(scan->out, inserted, sizeof inserted - 1);
    scan->copied = place;
}

/* The level of a long bracket that opens at `at`, or -1. */
static int bracket_level(const struct scan *scan, const char *at)
{
    int level = 0;
    if (at >= scan->end || *at != '[')
        return -1;
    for (at++; at < scan->end && *at == '='; at++)
        level++;
    return at < scan->end && *at == '[' ? level : -1;
}

static void skip_long(struct scan *scan, int level)
{
    scan->at += level + 2;
    for (; scan->at < scan->end; scan->at++) {
        if (*scan->at != ']')
            continue;
        const char *close = scan->at + 1;
        while (close < scan->end && *close == '=')
            close++;
        if (close < scan->end && *close == ']' && close - scan->at - 1 == level) {
            scan->at = close + 1;
            return;
        }
    }
}

static void skip_comment(struct scan *scan)
{
    scan->at += 2;
    int level = bracket_level(scan, scan->at);
    if (level >= 0) {
        skip_long(scan, level);
        return;
    }
    while (scan->at < scan->end && *scan->at != '\n')
        scan->at++;
}

static void skip_string(struct scan *scan)
{
    char quote = *scan->at++;
    while (scan->at < scan->end && *scan->at != quote)
        scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
    scan->at += scan->at < scan->end;
}

static bool is_name_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_' || (unsigned char)byte >= 0x80;
}

static bool is_word(const char *begin, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(begin, word, length) == 0;
}

/* `goto name`, and not a field or variable that is called goto. */
static bool is_jump(const struct scan *scan, const char *begin)
{
    const char *next = scan->at;
    while (next < scan->end && (*next == ' ' || *next == '\t'))
        next++;
    bool is_field = begin > scan->text && (begin[-1] == '.' || begin[-1] == ':');
    return !is_field && next > scan->at && next < scan->end && is_name_byte(*next);
}

static void take_word(struct scan *scan)
{
    const char *begin = scan->at;
    while (scan->at < scan->end && is_name_byte(*scan->at))
        scan->at++;
    size_t length = (size_t)(scan->at - begin);
    scan->names_ours |=
        length >= strlen(reserved) && memcmp(begin, reserved, strlen(reserved)) == 0;
    if (is_word(begin, length, "function"))
        scan->in_header = true;
    else if (is_word(begin, length, "do") || is_word(begin, length, "repeat"))
        insert_at(scan, scan->at);
    else if (is_word(begin, length, "goto") && is_jump(scan, begin))
        insert_at(scan, begin);
}

static void step(struct scan *scan)
{
    char byte = *scan->at;
    int level = bracket_level(scan, scan->at);
    if (level >= 0) {
        skip_long(scan, level);
    } else if (byte == '-' && scan->at + 1 < scan->end && scan->at[1] == '-') {
        skip_comment(scan);
    } else if (byte == '"' || byte == '\'') {
        skip_string(scan);
    } else if (is_name_byte(byte)) {
        take_word(scan);
    } else {
        scan->at++;
        if (byte == ')' && scan->in_header) {
            scan->in_header = false;
            insert_at(scan, scan->at);
        }
    }
}

/* Past what LuaJIT itself skips at the head of a file: a byte order mark, then a line with #. */
static const char *after_head(const char *text, const char *end)
{
    if (end - text >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    if (text < end && *text == '#') {
        while (text < end && *text != '\n' && *text != '\r')
            text++;
    }
    return text;
}

bool md__checkpoint_insert(const char *text, size_t length, struct md_buffer *out)
{
    const char *end = text + length, *start = after_head(text, end);
    struct scan scan = {.text = start, .end = end, .at = start, .copied = start, .out = out};
    md_buffer_append(out, prologue, sizeof prologue - 1);
    while (scan.at < scan.end)
        step(&scan);
    md_buffer_append(out, scan.copied, (size_t)(scan.end - scan.copied));
    return !scan.names_ours;
}
