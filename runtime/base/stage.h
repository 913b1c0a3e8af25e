/* md_span_begin and md_span_end (span.h) as calls, for graph/: its struct md_trace is another one,
 * so a file cannot include both headers. */
#ifndef MD_BASE_STAGE_H
#define MD_BASE_STAGE_H

int md_stage_begin(const char *name);
void md_stage_end(int level);

#endif
