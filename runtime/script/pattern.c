/*
 * The matcher; see pattern.h. A pattern may backtrack for as long as the universe lasts, and the
 * library's own matcher cannot be stopped.
 *
 * A pattern is read while it is matched, item by item; nothing is allocated. An item is a class (a
 * byte, `.`, `%x`, `[set]`) with or without a repetition, or one of `( ) %b %f %1 $`. match_here
 * answers where the rest of the pattern ends when it begins at a place of the text, or NULL; it
 * calls itself once per item that can be matched in several ways, so its depth is bounded by the
 * pattern's length, and by DEPTH_MAX. tests/unit/test_script_pattern.c compares it with the
 * library's on generated patterns.
 */
#include <ctype.h>
#include <string.h>

#include "script/pattern.h"

enum {
    DEPTH_MAX = 200,
    STEPS_PER_LOOK = 512, /* each is a byte or an item tried: a few nanoseconds */
    UNITS_PER_LOOK = 256,
    BYTES_PER_STEP = 64 /* of text compared as a whole */
};

static const char *match_here(struct md__matcher *matcher, const char *at, const char *item);

static void step(struct md__matcher *matcher)
{
    if (++matcher->steps < STEPS_PER_LOOK)
        return;
    matcher->steps = 0;
    md__spend(matcher->L, UNITS_PER_LOOK);
}

/* ---- classes --------------------------------------------------------------------------------- */

/* Behind the class that begins at item. */
static const char *class_end(const struct md__matcher *matcher, const char *item)
{
    const char *end = matcher->pattern_end;
    if (*item == '%') {
        if (item + 1 == end)
            luaL_error(matcher->L, "malformed pattern (ends with '%%')");
        return item + 2;
    }
    if (*item != '[')
        return item + 1;
    const char *at = item + 1;
    at += at < end && *at == '^';
    bool first = true; /* a bracket that comes first stands for itself */
    for (; at < end && (first || *at != ']'); first = false)
        at += *at == '%' && at + 1 < end ? 2 : 1;
    if (at >= end)
        luaL_error(matcher->L, "malformed pattern (missing ']')");
    return at + 1;
}

static bool is_of_letter(unsigned char byte, unsigned char letter)
{
    bool is;
    switch (tolower(letter)) {
    case 'a':
        is = isalpha(byte);
        break;
    case 'c':
        is = iscntrl(byte);
        break;
    case 'd':
        is = isdigit(byte);
        break;
    case 'g':
        is = isgraph(byte);
        break;
    case 'l':
        is = islower(byte);
        break;
    case 'p':
        is = ispunct(byte);
        break;
    case 's':
        is = isspace(byte);
        break;
    case 'u':
        is = isupper(byte);
        break;
    case 'w':
        is = isalnum(byte);
        break;
    case 'x':
        is = isxdigit(byte);
        break;
    case 'z':
        is = byte == 0;
        break;
    default:
        return letter == byte;
    }
    return isupper(letter) ? !is : is;
}

/* set: at the opening bracket; close: at the closing one. */
static bool is_in_set(unsigned char byte, const char *set, const char *close)
{
    bool negated = set[1] == '^';
    for (const char *at = set + 1 + negated; at < close; at++) {
        if (*at == '%') {
            if (is_of_letter(byte, (unsigned char)*++at))
                return !negated;
        } else if (at[1] == '-' && at + 2 < close) {
            if ((unsigned char)at[0] <= byte && byte <= (unsigned char)at[2])
                return !negated;
            at += 2;
        } else if ((unsigned char)*at == byte) {
            return !negated;
        }
    }
    return negated;
}

/* Is there a byte at this place, and is it of the class [item, end)? */
static bool is_match(struct md__matcher *matcher, const char *at, const char *item, const char *end)
{
    step(matcher);
    if (at >= matcher->text_end)
        return false;
    switch (*item) {
    case '.':
        return true;
    case '%':
        return is_of_letter((unsigned char)*at, (unsigned char)item[1]);
    case '[':
        return is_in_set((unsigned char)*at, item, end - 1);
    default:
        return *item == *at;
    }
}

/* ---- items ----------------------------------------------------------------------------------- */

/* %bxy: from an x to its y; NULL when there is none here. */
static const char *match_balance(struct md__matcher *matcher, const char *at, const char *item)
{
    if (matcher->pattern_end - item < 4)
        luaL_error(matcher->L, "unbalanced pattern");
    char open = item[2], close = item[3];
    int level = 1;
    if (at >= matcher->text_end || *at != open)
        return NULL;
    for (at++; at < matcher->text_end; at++) {
        step(matcher);
        if (*at == close && --level == 0)
            return at + 1;
        level += *at == open && *at != close;
    }
    return NULL;
}

/* %f[set]: a place between a byte outside of the set and one inside; the text's ends count as 0. */
static bool is_frontier(struct md__matcher *matcher, const char *at, const char *set,
                        const char *end)
{
    char before = at == matcher->text ? '\0' : at[-1];
    char after = at == matcher->text_end ? '\0' : *at;
    return !is_in_set((unsigned char)before, set, end - 1) &&
           is_in_set((unsigned char)after, set, end - 1);
}

/* %1: the text of a capture again; the place behind it, or NULL. */
static const char *match_again(struct md__matcher *matcher, const char *at, char digit)
{
    int index = digit - '1';
    if (index < 0 || index >= matcher->count || matcher->captures[index].length == MD__CAPTURE_OPEN)
        luaL_error(matcher->L, "invalid capture index");
    const struct md__capture *capture = &matcher->captures[index];
    size_t length = capture->length >= 0 ? (size_t)capture->length : 0;
    step(matcher);
    matcher->steps += (int)(length / BYTES_PER_STEP);
    if (capture->length < 0 || (size_t)(matcher->text_end - at) < length)
        return NULL;
    return memcmp(capture->begin, at, length) == 0 ? at + length : NULL;
}

static const char *open_capture(struct md__matcher *matcher, const char *at, const char *item)
{
    bool is_place = item + 1 < matcher->pattern_end && item[1] == ')';
    if (matcher->count == MD__CAPTURES_MAX)
        luaL_error(matcher->L, "too many captures");
    matcher->captures[matcher->count++] =
        (struct md__capture){at, is_place ? MD__CAPTURE_PLACE : MD__CAPTURE_OPEN};
    const char *end = match_here(matcher, at, item + (is_place ? 2 : 1));
    if (end == NULL)
        matcher->count--;
    return end;
}

static const char *close_capture(struct md__matcher *matcher, const char *at, const char *item)
{
    int index = matcher->count - 1;
    while (index >= 0 && matcher->captures[index].length != MD__CAPTURE_OPEN)
        index--;
    if (index < 0)
        luaL_error(matcher->L, "invalid pattern capture");
    struct md__capture *capture = &matcher->captures[index];
    capture->length = at - capture->begin;
    const char *end = match_here(matcher, at, item + 1);
    if (end == NULL)
        capture->length = MD__CAPTURE_OPEN;
    return end;
}

/* As many as there are, then fewer until the rest matches. */
static const char *match_most(struct md__matcher *matcher, const char *at, const char *item,
                              const char *end, ptrdiff_t least)
{
    ptrdiff_t count = 0;
    while (is_match(matcher, at + count, item, end))
        count++;
    for (; count >= least; count--) {
        const char *result = match_here(matcher, at + count, end + 1);
        if (result != NULL)
            return result;
    }
    return NULL;
}

static const char *match_fewest(struct md__matcher *matcher, const char *at, const char *item,
                                const char *end)
{
    for (;; at++) {
        const char *result = match_here(matcher, at, end + 1);
        if (result != NULL)
            return result;
        if (!is_match(matcher, at, item, end))
            return NULL;
    }
}

/* An item that begins with %: true when it was one of %b %f %1, with both places moved behind it
 * (*at NULL: no match). */
static bool match_special(struct md__matcher *matcher, const char **at, const char **item)
{
    const char *begin = *item;
    char letter = begin + 1 < matcher->pattern_end ? begin[1] : '\0';
    if (letter == 'b') {
        *at = match_balance(matcher, *at, begin);
        *item = begin + 4;
    } else if (letter == 'f') {
        const char *set = begin + 2;
        if (set >= matcher->pattern_end || *set != '[')
            luaL_error(matcher->L, "missing '[' after '%%f' in pattern");
        *item = class_end(matcher, set);
        if (!is_frontier(matcher, *at, set, *item))
            *at = NULL;
    } else if (isdigit((unsigned char)letter)) {
        *at = match_again(matcher, *at, letter);
        *item = begin + 2;
    } else {
        return false;
    }
    return true;
}

static const char *match_items(struct md__matcher *matcher, const char *at, const char *item)
{
    while (at != NULL && item != matcher->pattern_end) {
        step(matcher);
        if (*item == '(')
            return open_capture(matcher, at, item);
        if (*item == ')')
            return close_capture(matcher, at, item);
        if (*item == '$' && item + 1 == matcher->pattern_end)
            return at == matcher->text_end ? at : NULL;
        if (*item == '%' && match_special(matcher, &at, &item))
            continue;
        const char *end = class_end(matcher, item), *result;
        switch (end < matcher->pattern_end ? *end : '\0') {
        case '*':
            return match_most(matcher, at, item, end, 0);
        case '+':
            return match_most(matcher, at, item, end, 1);
        case '-':
            return match_fewest(matcher, at, item, end);
        case '?':
            if (is_match(matcher, at, item, end) &&
                (result = match_here(matcher, at + 1, end + 1)) != NULL)
                return result;
            item = end + 1;
            break;
        default:
            at = is_match(matcher, at, item, end) ? at + 1 : NULL;
            item = end;
        }
    }
    return at;
}

static const char *match_here(struct md__matcher *matcher, const char *at, const char *item)
{
    if (++matcher->depth > DEPTH_MAX)
        luaL_error(matcher->L, "pattern too complex");
    const char *end = match_items(matcher, at, item);
    matcher->depth--;
    return end;
}

const char *md__pattern_match(struct md__matcher *matcher, const char *at, const char *pattern)
{
    matcher->count = matcher->depth = 0;
    return match_here(matcher, at, pattern);
}
