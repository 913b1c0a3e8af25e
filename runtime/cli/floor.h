/*
 * What this machine could do: the terms of a model's floor, measured in this process with as
 * many threads as the model gets.
 *
 *     floor = max(FLOP / FMA peak, bytes / bandwidth) + transcendentals * their cost
 *
 * Bytes are those that every run has to touch at least once: inputs, outputs and weights. Values in
 * between may stay in caches, so counting them would put the floor above what can be reached.
 */
#ifndef MD_CLI_FLOOR_H
#define MD_CLI_FLOOR_H

#include "base/clock.h"
#include "graph/executable.h"

struct md__floor {
    double flops_per_s;      /* fused multiply-adds, counted as two, all threads */
    double bytes_per_s;      /* reading memory that no cache holds, all threads */
    double cached_bytes_per_s, cached_bytes; /* what the second-level caches hold; how much */
    double transcendental_s; /* one evaluation by the backend's own kernels, all threads at work */
};

enum md_status md__floor_measure(const struct md_backend *backend, struct md_pool *pool,
                                 struct md_clock *clock, struct md__floor *floor,
                                 struct md_error *err);
/* Seconds below which this plan cannot go; port_bytes: its inputs and outputs. */
double md__floor_seconds(const struct md__floor *floor, const struct md_plan_report *report,
                         size_t port_bytes);
/*
 * The same for one step of it, whose bytes are inputs, outputs and weights: read from caches where
 * they fit there.
 */
double md__floor_step_seconds(const struct md__floor *floor, const struct md_step_cost *cost);

#endif
