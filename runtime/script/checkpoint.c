/*
 * Checkpoints. LuaJIT's hooks do not fire inside compiled loops, so the loader writes a checkpoint
 * into every file: at the head of each function and each loop body and before each goto, a call of
 * a C function through the FFI, which the compiler keeps and which costs about one percent. What it
 * does then is in limits.c.
 *
 * The pass is a scanner of tokens, not a parser: it knows strings, comments and names, and inserts
 * text on the line where it is, so that line numbers stay what they are. The names that it inserts
 * are locals of the chunk, given to it as its first two arguments.
 */
#include <ctype.h>
#include <lualib.h>
#include <string.h>

#include "script/internal.h"

static const char checkpoint_key[] = "moondial.checkpoint";
static const char reserved[] = "md__"; /* a script with these could lift its own budget */
static const char prologue[] = "local md__ck,md__stop=...;";
static const char inserted[] = " if md__ck.md__script_checkpoint()~=0 then md__stop()end; ";

/* ---- at load --------------------------------------------------------------------------------- */

/* Runs where ffi is in reach and leaves the namespace of C in the registry. */
static const char declaration[] = "local ffi = ...\n"
                                  "ffi.cdef [[int md__script_checkpoint(void);\n"
                                  "int spend(double) __asm__(\"md__script_spend\");]]\n"
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
    lua_pushcfunction(L, md__stop);
    return 2;
}

/* ---- the pass -------------------------------------------------------------------------------- */

struct scan {
    const char *text, *end, *at;
    const char *copied; /* what lies before is in out */
    struct md_buffer *out;
    bool names_ours; /* a name of the text begins like the inserted ones */
    bool in_header;  /* between `function` and its parameters' closing parenthesis */
    bool in_value;   /* the last token wants a value or a name after it */
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

static void skip_blank(struct scan *scan)
{
    while (scan->at < scan->end) {
        if (isspace((unsigned char)*scan->at))
            scan->at++;
        else if (*scan->at == '-' && scan->at + 1 < scan->end && scan->at[1] == '-')
            skip_comment(scan);
        else
            return;
    }
}

static bool is_in(const char *begin, size_t length, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (is_word(begin, length, *words))
            return true;
    }
    return false;
}

/* After these a value or a name follows; in all other places a statement may begin. */
static const char *const leading_words[] = {"and",  "elseif", "for",    "function", "if",
                                            "in",   "local",  "not",    "or",       "return",
                                            "goto", "until",  "while",  NULL};
static const char *const other_words[] = {"break", "do",  "else",   "end",  "false",
                                          "nil",   "true", "repeat", "then", NULL};

/*
 * `goto` before a name is a jump where a statement may begin; anywhere else LuaJIT takes it for a
 * name like any other. Called behind the word.
 */
static bool is_jump(const struct scan *scan)
{
    struct scan ahead = *scan;
    skip_blank(&ahead);
    const char *begin = ahead.at;
    while (ahead.at < ahead.end && is_name_byte(*ahead.at))
        ahead.at++;
    size_t length = (size_t)(ahead.at - begin);
    return !scan->in_value && length > 0 && !isdigit((unsigned char)*begin) &&
           !is_in(begin, length, leading_words) && !is_in(begin, length, other_words);
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
    else if (is_word(begin, length, "goto") && is_jump(scan))
        insert_at(scan, begin);
    scan->in_value = is_in(begin, length, leading_words) && !is_word(begin, length, "goto");
}

static bool starts_with(const struct scan *scan, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(scan->end - scan->at) >= length && memcmp(scan->at, text, length) == 0;
}

static void take_mark(struct scan *scan)
{
    char byte = *scan->at;
    bool is_label = starts_with(scan, "::"), is_rest = starts_with(scan, "...");
    scan->at += is_rest ? 3 : is_label ? 2 : 1;
    scan->in_value = !is_label && !is_rest && strchr(")]};", byte) == NULL;
    if (byte == ')' && scan->in_header) {
        scan->in_header = false;
        insert_at(scan, scan->at);
    }
}

/* One token; blanks and comments lie before it. */
static void step(struct scan *scan)
{
    char byte = *scan->at;
    int level = bracket_level(scan, scan->at);
    if (level >= 0) {
        skip_long(scan, level);
        scan->in_value = false;
    } else if (byte == '"' || byte == '\'') {
        skip_string(scan);
        scan->in_value = false;
    } else if (is_name_byte(byte)) {
        take_word(scan);
    } else {
        take_mark(scan);
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
    for (skip_blank(&scan); scan.at < scan.end; skip_blank(&scan))
        step(&scan);
    md_buffer_append(out, scan.copied, (size_t)(scan.end - scan.copied));
    return !scan.names_ours;
}
