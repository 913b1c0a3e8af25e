/*
 * What the files of serve/ share. Locks: serve->lock guards the registry, the queue and the
 * states of queued calls; serve->device is held while a batch runs. Never take serve->lock while
 * waiting for the device, nor a call's lock first.
 *
 * Loading needs neither: a new version is built and warmed on a thread of its own that leaves the
 * pool's workers alone (md_pool_set_alone), beside the batches that run.
 */
#ifndef MD_SERVE_INTERNAL_H
#define MD_SERVE_INTERNAL_H

#include <pthread.h>

#include "base/metrics.h"
#include "serve/serve.h"

#define MD__SYMBOLS_MAX 64
#define MD__PORTS_MAX   128
#define MD__RECENT_MAX  4

/* One model's metric series; versions of a name share them. */
struct md__model_metrics {
    struct md_metric *requests, *failures;
    struct md_metric *batch_rows, *compute_seconds, *queue_seconds;
    struct md_metric *kept_bytes, *rows_kept, *rows_computed, *runs_kept, *runs_full;
};

struct md_model {
    _Atomic int refs;
    char *name, *path, *config;
    const char *backend;
    struct md_clock *clock;
    int64_t generation, loaded_at_ms, parameters;
    struct md_executable *executable; /* one thread at a time: its loader, then the executor */
    struct md_model_port *inputs, *outputs; /* names point into the executable's graph */
    int input_count, output_count;
    /* Input shapes that it ran with lately: its successor plans for them. Under serve->lock. */
    struct md_shape *recent; /* [MD__RECENT_MAX][input_count] */
    int recent_count, recent_next;
    int64_t batch_symbol; /* the dimension that stands for "batch"; 0: the model has none */
    bool finite;          /* inputs must not hold NaN or infinity */
    int64_t
        fitting_rows; /* more do not fit the accelerator's memory; 0: all did (the executor's) */
    bool batches;     /* rows of different calls can be concatenated, and results split */
    struct md__model_metrics metrics;
    struct md_model_profile profile;
};

enum md__call_state { MD__CALL_QUEUED, MD__CALL_RUNNING, MD__CALL_DONE };

struct md_call {
    _Atomic int refs;       /* the caller's, and the queue's or executor's */
    _Atomic bool abandoned; /* the caller has let go: not worth running any more */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    enum md__call_state state; /* under lock */
    struct md_error error;     /* code MD_OK after success; set before state is DONE */
    struct md_clock *clock;
    struct md_model *model;
    struct md_tensor *inputs, *outputs;
    struct md_windows windows; /* each: rows of them, the call's own; NULL: none given */
    int64_t rows;              /* along the batch symbol; 1 for models that have none */
    int64_t queued_ns, deadline_ns;
    int64_t taken_ns, begin_ns, end_ns; /* by the executor; its first run's begin, last one's end */
    struct md_call *next;
};

struct md_serve {
    struct md_serve_options options;
    struct md_model_builder builder;
    struct md_pool *pool;
    pthread_mutex_t lock, device;
    pthread_cond_t work;
    pthread_t thread;
    bool ending; /* under lock */
    struct md_call *head, *tail;
    int64_t begin_ns, end_ns; /* the executor's: of the runs for the calls at hand */
    int depth;
    struct md_model *models[MD_SERVE_MODELS_MAX]; /* sorted by name */
    int model_count;
    int64_t generation;
    struct md_family *requests, *batch_rows, *compute_seconds, *queue_seconds, *rejected;
    struct md_family *kept_bytes, *kept_rows, *rolling_runs;
    struct md_metric *queue_depth;
};

/* model.c */
enum md_status md__model_new(struct md_serve *serve, const char *name, const char *path,
                             const char *config, struct md_executable *executable,
                             struct md_model **model, struct md_error *err);
/* Puts the tensors in the order of the ports and checks them; see md_serve_submit. */
enum md_status md__model_bind(const struct md_model *model, const struct md_port_tensor *given,
                              int count, struct md_tensor *inputs, int64_t *rows,
                              struct md_error *err);

/* recent.c: remembers the shapes of a run; plans for those of the version that is served now. */
void md__model_note_shapes(struct md_serve *serve, struct md_model *model,
                           const struct md_tensor *inputs);
void md__model_plan_recent(struct md_serve *serve, struct md_model *model,
                           const struct md_model *before);
/* model.c: could these be the shapes of a call? */
bool md__model_takes(const struct md_model *model, const struct md_shape *shapes);

/* warm.c: runs the model at small sizes, learns the shapes of its outputs. */
enum md_status md__model_warm(struct md_model *model, struct md_error *err);

/* call.c */
void md__call_release(struct md_call *call);
/*
 * Ends the call with err's status (NULL: success) and wakes its waiter. Takes the queue's
 * reference.
 */
void md__call_finish(struct md_call *call, const struct md_error *err);

/* batch.c: runs calls (linked by next) that can_join allowed together; finishes every one. */
bool md__call_can_join(const struct md_call *first, const struct md_call *other);
void md__batch_run(struct md_serve *serve, struct md_call *calls, int64_t rows);

/* The input's first axis is the batch. */
bool md__model_has_rows(const struct md_model *model, int input);

/*
 * rows.c: pieces of a batch. Tensors given to be filled begin as zeros; when one of these fails,
 * those that it has filled stay, and are the caller's to drop.
 */
/* cut: views of rows [begin, begin + count) of the inputs, and inputs without rows as they are. */
enum md_status md__rows_cut(const struct md_model *model, const struct md_tensor *inputs,
                            int64_t begin, int64_t count, struct md_tensor *cut,
                            struct md_error *err);
/*
 * Each output has so many rows: warming has seen that it has as many as the inputs, but contents
 * may decide otherwise.
 */
enum md_status md__rows_check(const struct md_model *model, const struct md_tensor *outputs,
                              int64_t count, struct md_error *err);
/*
 * Copies a piece of the outputs, which md__rows_check has found to have rows, to rows begin.. of
 * the `total` that outputs[] have. The first piece makes them; the others must be of its shape.
 */
enum md_status md__rows_place(const struct md_model *model, const struct md_tensor *piece,
                              int64_t begin, int64_t total, struct md_tensor *outputs,
                              struct md_error *err);

/* fit.c: the rows of a padded batch on an accelerator */
int64_t md__batch_bucket(int64_t rows);
/* A batch that is to run on one, in as few runs as fit; `run` does one. Outputs are new. */
struct md__fit {
    struct md_serve *serve;
    struct md_model *model;
    const struct md_tensor *inputs;
    int64_t rows;
    const struct md_run_limits *limits;
    enum md_status (*run)(struct md_serve *serve, struct md_model *model,
                          const struct md_tensor *inputs, int64_t rows, struct md_tensor *outputs,
                          const struct md_run_limits *limits, struct md_error *err);
};
enum md_status md__batch_fit(const struct md__fit *fit, struct md_tensor *outputs,
                             struct md_error *err);

/* executor.c */
void *md__executor(void *serve);

#endif
