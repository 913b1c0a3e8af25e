/*
 * Timestamps as text: RFC 3339 / ISO 8601, the forms that feeds really send.
 * "2026-01-31T07:05:09.250Z", a space instead of T, an offset "+02:00" or "+0200", seconds or
 * fractions left out, a bare date (midnight). Without an offset the time is local to `zone` (NULL:
 * UTC).
 */
#ifndef MD_BASE_TIMESTAMP_H
#define MD_BASE_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/timezone.h"

#define MD_TIMESTAMP_BYTES 32

enum md_status md_timestamp_parse(const char *text, const struct md_timezone *zone, int64_t *utc_ms,
                                  struct md_error *err);

/*
 * "2026-01-31T07:05:09Z"; milliseconds only when they are not zero. Years outside 0-9999 are
 * clamped.
 */
void md_timestamp_format(int64_t utc_ms, char text[MD_TIMESTAMP_BYTES]);

#endif
