/* Stages (span.h) for code that has traces of its own: md_span_begin and md_span_end by call. */
#ifndef MD_BASE_STAGE_H
#define MD_BASE_STAGE_H

int md_stage_begin(const char *name);
void md_stage_end(int level);

#endif
