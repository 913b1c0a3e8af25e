/*
 * string.find, match, gmatch and gsub on the bounded matcher of pattern.h; what they do follows
 * Lua 5.1. tests/unit/test_script_pattern.c compares them with the library's own.
 */
#include <ctype.h>
#include <string.h>

#include "script/pattern.h"

enum {
    CALL_UNITS = 2,
    BYTES_PER_UNIT = 128 /* searched or copied while one unit of work is done */
};

/* ---- results --------------------------------------------------------------------------------- */

/* The text is argument 1 and the pattern, which ends at its first zero byte, argument 2. */
static const char *begin(lua_State *L, int text_index, int pattern_index,
                         struct md__matcher *matcher)
{
    size_t length;
    matcher->L = L;
    matcher->text = luaL_checklstring(L, text_index, &length);
    matcher->text_end = matcher->text + length;
    const char *pattern = luaL_checkstring(L, pattern_index);
    matcher->pattern_end = pattern + strlen(pattern);
    matcher->steps = matcher->depth = 0;
    md__spend(L, CALL_UNITS);
    return pattern;
}

static void push_capture(const struct md__matcher *matcher, int index, const char *begin,
                         const char *end)
{
    lua_State *L = matcher->L;
    if (index >= matcher->count) {
        if (index != 0)
            luaL_error(L, "invalid capture index");
        lua_pushlstring(L, begin, (size_t)(end - begin)); /* no captures: the whole */
        return;
    }
    const struct md__capture *capture = &matcher->captures[index];
    if (capture->length == MD__CAPTURE_OPEN)
        luaL_error(L, "unfinished capture");
    if (capture->length == MD__CAPTURE_PLACE)
        lua_pushinteger(L, capture->begin - matcher->text + 1);
    else
        lua_pushlstring(L, capture->begin, (size_t)capture->length);
}

/* begin NULL: without captures nothing, rather than the whole. */
static int push_captures(const struct md__matcher *matcher, const char *begin, const char *end)
{
    int count = matcher->count == 0 && begin != NULL ? 1 : matcher->count;
    luaL_checkstack(matcher->L, count, "too many captures");
    for (int i = 0; i < count; i++)
        push_capture(matcher, i, begin, end);
    return count;
}

/* Where argument `index` says that the search begins: negative counts from the end. */
static const char *first_place(lua_State *L, int index, const struct md__matcher *matcher)
{
    lua_Number place = luaL_optnumber(L, index, 1);
    ptrdiff_t length = matcher->text_end - matcher->text;
    if (place < 0)
        place += (double)length + 1;
    if (!(place > 1))
        return matcher->text;
    return place > (double)length ? matcher->text_end : matcher->text + (ptrdiff_t)place - 1;
}

/* ---- find, match ----------------------------------------------------------------------------- */

static int find_plain(lua_State *L, const struct md__matcher *matcher, const char *from)
{
    size_t length, left = (size_t)(matcher->text_end - from);
    const char *wanted = lua_tolstring(L, 2, &length);
    md__spend(L, (double)left / BYTES_PER_UNIT);
    const char *found = length == 0 ? from : memmem(from, left, wanted, length);
    if (found == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - matcher->text + 1);
    lua_pushinteger(L, found - matcher->text + (ptrdiff_t)length);
    return 2;
}

static int search(lua_State *L, bool find)
{
    struct md__matcher matcher;
    const char *pattern = begin(L, 1, 2, &matcher);
    const char *from = first_place(L, 3, &matcher);
    if (find && (lua_toboolean(L, 4) || strpbrk(pattern, "^$*+?.([%-") == NULL))
        return find_plain(L, &matcher, from);
    bool anchored = *pattern == '^';
    pattern += anchored;
    for (const char *at = from; at <= matcher.text_end; at++) {
        const char *end = md__pattern_match(&matcher, at, pattern);
        if (end != NULL && find) {
            lua_pushinteger(L, at - matcher.text + 1);
            lua_pushinteger(L, end - matcher.text);
            return 2 + push_captures(&matcher, NULL, NULL);
        }
        if (end != NULL)
            return push_captures(&matcher, at, end);
        if (anchored)
            break;
    }
    lua_pushnil(L);
    return 1;
}

static int find(lua_State *L)
{
    return search(L, true);
}

static int match(lua_State *L)
{
    return search(L, false);
}

/* ---- gmatch ---------------------------------------------------------------------------------- */

/* Upvalues: text, pattern, where to go on. */
static int next_match(lua_State *L)
{
    struct md__matcher matcher;
    const char *pattern = begin(L, lua_upvalueindex(1), lua_upvalueindex(2), &matcher);
    const char *at = matcher.text + lua_tointeger(L, lua_upvalueindex(3));
    for (; at <= matcher.text_end; at++) {
        const char *end = md__pattern_match(&matcher, at, pattern);
        if (end == NULL)
            continue;
        lua_pushinteger(L, end - matcher.text + (end == at));
        lua_replace(L, lua_upvalueindex(3));
        return push_captures(&matcher, at, end);
    }
    return 0;
}

static int gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_match, 3);
    return 1;
}

/* ---- gsub ------------------------------------------------------------------------------------ */

/* The replacement's text with %0 .. %9 filled in. */
static void add_text(const struct md__matcher *matcher, luaL_Buffer *out, const char *from,
                     const char *end)
{
    size_t length;
    const char *text = lua_tolstring(matcher->L, 3, &length);
    md__spend(matcher->L, (double)length / BYTES_PER_UNIT);
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '%') {
            luaL_addchar(out, text[i]);
            continue;
        }
        i++; /* at the end: the terminating zero */
        if (!isdigit((unsigned char)text[i])) {
            luaL_addchar(out, text[i]);
        } else if (text[i] == '0') {
            luaL_addlstring(out, from, (size_t)(end - from));
        } else {
            push_capture(matcher, text[i] - '1', from, end);
            luaL_addvalue(out);
        }
    }
}

/* What a table or a function gives for the match; false or nil keep what was there. */
static void add_value(const struct md__matcher *matcher, luaL_Buffer *out, const char *from,
                      const char *end)
{
    lua_State *L = matcher->L;
    if (lua_istable(L, 3)) {
        push_capture(matcher, 0, from, end);
        lua_gettable(L, 3);
    } else {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(matcher, from, end), 1);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, from, (size_t)(end - from));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(out);
}

static int gsub(lua_State *L)
{
    struct md__matcher matcher;
    luaL_Buffer out;
    const char *pattern = begin(L, 1, 2, &matcher), *at = matcher.text;
    bool is_text = lua_isstring(L, 3);
    luaL_argcheck(L, is_text || lua_istable(L, 3) || lua_isfunction(L, 3), 3,
                  "string/function/table expected");
    lua_Number most = luaL_optnumber(L, 4, (lua_Number)(matcher.text_end - at) + 1);
    bool anchored = *pattern == '^';
    pattern += anchored;
    int count = 0;
    luaL_buffinit(L, &out);
    while (count < most) {
        const char *end = md__pattern_match(&matcher, at, pattern);
        if (end != NULL) {
            count++;
            (is_text ? add_text : add_value)(&matcher, &out, at, end);
        }
        if (end != NULL && end > at)
            at = end;
        else if (at < matcher.text_end)
            luaL_addchar(&out, *at++);
        else
            break;
        if (anchored)
            break;
    }
    luaL_addlstring(&out, at, (size_t)(matcher.text_end - at));
    luaL_pushresult(&out);
    lua_pushinteger(L, count);
    return 2;
}

void md__strings_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", find}, {"match", match}, {"gmatch", gmatch}, {"gsub", gsub}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
