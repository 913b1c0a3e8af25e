/*
 * A rehearsal's report (script/rehearse.h) as people read it. rehearse.c asks for it,
 * rehearse_text.c prints it, rehearse_html.c draws it.
 */
#ifndef MD_CLI_REHEARSE_H
#define MD_CLI_REHEARSE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/timezone.h"

struct md__rehearse_view {
    const json_t *report;
    const struct md_timezone *zone; /* of the report's times */
    const char *zone_name;
    int width; /* columns of text */
    FILE *out;
};

#define MD__TIME_TEXT_BYTES 32
/* "20 Nov 18:05", with seconds where they are not zero; "..." for a time that is not there. */
void md__rehearse_time(const struct md__rehearse_view *view, const json_t *ms,
                       char text[MD__TIME_TEXT_BYTES]);
/* "2 h 5 min" */
void md__rehearse_duration(double minutes, char text[MD__TIME_TEXT_BYTES]);
double md__rehearse_number(const json_t *object, const char *name);
int64_t md__rehearse_int(const json_t *object, const char *name);
const char *md__rehearse_string(const json_t *object, const char *name);

void md__rehearse_print(const struct md__rehearse_view *view);
void md__rehearse_draw(const struct md__rehearse_view *view);

#endif
