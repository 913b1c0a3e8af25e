/*
 * Time zones: UTC offsets from the system's zone files (TZif, RFC 8536), without the C library's
 * global TZ.
 *
 * Names: "UTC", a fixed offset "+02:00" or "-0530", or an IANA name such as "Europe/Prague" looked
 * up in /usr/share/zoneinfo. A zone is immutable after loading and may be used from any thread.
 */
#ifndef MD_BASE_TIMEZONE_H
#define MD_BASE_TIMEZONE_H

#include <stdint.h>

#include "base/status.h"

struct md_timezone;

enum md_status md_timezone_new(const char *name, struct md_timezone **zone, struct md_error *err);
void md_timezone_delete(struct md_timezone *zone);

/* Seconds to add to UTC to get local time at that moment. NULL is UTC. */
int md_timezone_offset_s(const struct md_timezone *zone, int64_t utc_ms);

/*
 * The UTC moment of a local wall time (given as if it were UTC milliseconds). A time that a change
 * of clocks makes ambiguous means the earlier moment; one that it skips is read with the offset
 * before the change.
 */
int64_t md_timezone_to_utc_ms(const struct md_timezone *zone, int64_t local_ms);

#endif
