/* The words that patterns and their results are written in. */
#ifndef MD_GRAPH_PATTERN_TEXT_H
#define MD_GRAPH_PATTERN_TEXT_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MD_TEXT_NAME 48

struct md__text {
    const char *at;
    bool bad;
};

static inline bool md__text_take(struct md__text *text, const char *word)
{
    text->at += strspn(text->at, " ");
    size_t length = strlen(word);
    if (strncmp(text->at, word, length) != 0)
        return false;
    text->at += length;
    text->at += strspn(text->at, " ");
    return true;
}

static inline void md__text_expect(struct md__text *text, const char *word)
{
    text->bad |= !md__text_take(text, word);
}

static inline void md__text_name(struct md__text *text, char *name)
{
    size_t length = 0;
    while ((isalnum((unsigned char)*text->at) || *text->at == '_' || *text->at == '.') &&
           length < MD_TEXT_NAME - 1)
        name[length++] = *text->at++;
    name[length] = '\0';
    text->bad |= length == 0;
}

static inline bool md__text_number(struct md__text *text, double *number)
{
    char *end = NULL;
    if (!isdigit((unsigned char)*text->at) && *text->at != '-')
        return false;
    *number = strtod(text->at, &end);
    text->at = end;
    return true;
}

#endif
