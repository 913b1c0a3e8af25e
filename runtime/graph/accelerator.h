/*
 * An accelerator: a device that was opened, and what has become of it. Executables borrow it; each
 * makes a stream and memory of its own, so that several models and versions share one device.
 *
 * A failed call costs its run, which the CPU then does; a *sticky* error (the driver's word that
 * nothing works any more) takes the accelerator out of use for good: executables that know it run
 * on the CPU from then on. Nothing here ends the process.
 *
 * Threads: any. Work on the device is handed over under the accelerator's lock.
 */
#ifndef MD_GRAPH_ACCELERATOR_H
#define MD_GRAPH_ACCELERATOR_H

#include "graph/device.h"

struct md_accelerator;

/* How float32 is stored on a device. auto: float16; where weights or values are out of its range
 * bfloat16, or float32 on devices that lack it; float32 where 16 bits are off (device_try.c). */
enum md_precision { MD_PRECISION_AUTO, MD_PRECISION_F32, MD_PRECISION_F16, MD_PRECISION_BF16 };

/* "auto", "fp32", "fp16", "bf16"; "?" for a number that is none. */
const char *md_precision_name(enum md_precision precision);
/* MD_ERR_INVALID lists the names. */
enum md_status md_precision_parse(const char *name, enum md_precision *precision,
                                  struct md_error *err);

/*
 * Opens device `index` of the driver, whose table must outlive it. MD_ERR_UNSUPPORTED: the driver
 * was built for another version of this program. MD_ERR_UNAVAILABLE: there is no such device.
 */
enum md_status md_accelerator_new(const struct md_device_driver *driver, int index,
                                  struct md_accelerator **accelerator, struct md_error *err);
/* After all executables on it are gone; NULL is fine. */
void md_accelerator_delete(struct md_accelerator *accelerator);

/* False after a sticky error. */
bool md_accelerator_usable(const struct md_accelerator *accelerator);

/* What went on, from all executables, since it was opened. */
struct md_accelerator_report {
    const char *driver; /* its name */
    struct md_device_info info;
    bool usable;
    char failure[256];     /* the last one; "" while there was none */
    int64_t runs;          /* that ended on the device */
    int64_t launches;      /* of captured work */
    int64_t captures;      /* recorded */
    int64_t failed_runs;   /* done on the CPU instead, after a failed call */
    int64_t memory_runs;   /* likewise, after device memory was full */
    int64_t repeated_runs; /* done again in float32: an input was out of range, or an output was NaN
                              or infinite */
    int64_t ahead_runs;    /* of the runs: begun before they were asked for */
    int64_t stayed, travelled; /* handovers of sessions: in device memory; through the host */
    size_t weight_bytes, arena_bytes, session_bytes, pinned_bytes; /* held now */
    size_t free_bytes, total_bytes; /* 0 when the driver does not say */
};
void md_accelerator_report(struct md_accelerator *accelerator,
                           struct md_accelerator_report *report);
/* How busy it is; everything -1 where nobody knows. */
void md_accelerator_usage(struct md_accelerator *accelerator, struct md_device_usage *usage);

/* ---- for device_*.c ---- */

struct md_accelerator_counts {
    int64_t runs, launches, captures, failed_runs, memory_runs, repeated_runs;
    int64_t ahead_runs, stayed, travelled;
    int64_t weight_bytes, arena_bytes, session_bytes, pinned_bytes;
};

const struct md_device_driver *md__accelerator_driver(const struct md_accelerator *accelerator);
struct md_device_context *md__accelerator_context(struct md_accelerator *accelerator);
const struct md_device_info *md__accelerator_info(const struct md_accelerator *accelerator);
/* Whose work may be under way while nobody holds the lock (device_flight.c). Under the lock. */
struct md__device *md__accelerator_flying(const struct md_accelerator *accelerator);
void md__accelerator_set_flying(struct md_accelerator *accelerator, struct md__device *device);
void md__accelerator_lock(struct md_accelerator *accelerator);
void md__accelerator_unlock(struct md_accelerator *accelerator);
/* Adds to what the report tells. Under the lock or not. */
void md__accelerator_count(struct md_accelerator *accelerator,
                           const struct md_accelerator_counts *more);
/* Remembers a failure of the driver's, logs the first and every sticky one. Not under the lock. */
void md__accelerator_failed(struct md_accelerator *accelerator, const struct md_error *err);

#endif
