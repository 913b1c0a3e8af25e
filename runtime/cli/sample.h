/*
 * Sample inputs for a model about which only the graph and config.json are known: sizes for its
 * symbols, and random tensors.
 */
#ifndef MD_CLI_SAMPLE_H
#define MD_CLI_SAMPLE_H

#include <jansson.h>

#include "cli/cli.h"

#define MD__SAMPLE_SYMBOLS_MAX 256
#define MD__SAMPLE_PORTS_MAX   256
#define MD__SAMPLE_KNOWN_MAX   256

struct md__sample {
    const struct md_graph *graph;
    int64_t sizes[MD__SAMPLE_SYMBOLS_MAX]; /* by symbol */
    struct md_tensor inputs[MD__SAMPLE_PORTS_MAX];
    uint64_t random;
    /* md__sample_share_known: columns of inputs whose last axis has known_width */
    bool known[MD__SAMPLE_KNOWN_MAX];
    int known_width;
    bool given; /* md__sample_give */
    /* md__sample_roll: windows that move on by a step from run to run */
    bool rolling;
    bool fixed_reals[MD__SAMPLE_KNOWN_MAX], fixed_codes[MD__SAMPLE_KNOWN_MAX]; /* what stays */
    int position; /* the column of relative_time_idx, or -1 */
    int64_t tick;
};

/*
 * New random values (unless they are given), then one timed run whose outputs are dropped.
 * port_bytes, when not NULL, becomes the size of all inputs and outputs.
 */
enum md_status md__sample_run(struct md__sample *sample, struct md_executable *executable,
                              int64_t *ns, size_t *port_bytes, struct md_error *err);

/*
 * Sizes: what `given` says ("encoder=288,decoder=96", may be NULL), else the longest that
 * config.json declares ("max_encoder_length", for the decoder also "max_prediction_length", at
 * the top or under "dataset"), else the graph's own sample size.
 */
enum md_status md__sample_init(struct md__sample *sample, const struct md_graph *graph,
                               const char *config_json, const char *given, struct md_error *err);
void md__sample_fini(struct md__sample *sample);
/* From now on inputs are what the caller has put there: sizes are theirs, and values stay. */
void md__sample_give(struct md__sample *sample);
/* Rows that the inputs hold now: the batch symbol's size, 1 when there is none. */
int64_t md__sample_batch(const struct md__sample *sample);
/*
 * From now on rows of a batch hold the same numbers in the columns of x_reals that config.json
 * lists for the decoder, as calendars and positions do. MD_ERR_INVALID when it lists none.
 */
enum md_status md__sample_share_known(struct md__sample *sample, const char *config_json,
                                      struct md_error *err);
/*
 * From now on md__sample_fill moves each row's history and future on by one step: a new last row,
 * all others as they were, but for the position in the window; and runs say whose windows rows are.
 * What config.json calls static stays.
 */
void md__sample_roll(struct md__sample *sample, const char *config_json);
/* The symbol "batch" or "batch_size", as the batcher of serve/ knows it; -1 when there is none. */
int md__sample_batch_symbol(const struct md_graph *graph);
/* Makes the input tensors for this size of the batch symbol. An input of unknown rank becomes a
 * scalar. */
enum md_status md__sample_resize(struct md__sample *sample, int64_t batch, struct md_error *err);
/*
 * Fills them with new values, every row of its own: floats uniform in [-1.7, 1.7] (variance 1),
 * integers 0 or 1, inputs called <symbol>_lengths the full size of that symbol.
 */
void md__sample_fill(struct md__sample *sample);
/* Symbols and their sizes, as an object; the caller's. */
json_t *md__sample_sizes_json(const struct md__sample *sample);

#endif
