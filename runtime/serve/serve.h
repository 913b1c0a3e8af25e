/*
 * Serving: named models, one executor per device, batches of concurrent calls.
 *
 *     md_serve_new(&options, &serve, err);
 *     md_serve_set_builder(serve, &builder);   // script/ registers the Lua model families
 *     md_serve_load(serve, "tft", "scripts/fleet/models/tft", NULL, err);
 *
 *     md_serve_model(serve, "tft", &model, err);   // the version that is current now
 *     md_serve_submit(serve, model, inputs, count, 0, &call, err);
 *     md_call_wait(call, -1, err);   // then md_call_output(call, i)
 *     md_call_unref(call);
 *     md_model_unref(model);
 *
 * A model is immutable once published: loading under the same name publishes a new version, and
 * the old one lives until its last reference (a caller's, or a queued call's) is gone. One
 * executor thread runs batches in the order of their oldest call. Calls of one model whose
 * shapes allow it (every difference is in the symbol "batch" or "batch_size", and only on first
 * axes) run as one batch; a batch beyond options.batch_max rows runs in pieces, so that the plan's
 * arena stays bounded.
 *
 * Threads: every function here may be called from any thread. Durations use options.clock's
 * monotonic side, which must be a running clock (the system's), because waiting sleeps in real
 * time.
 */
#ifndef MD_SERVE_SERVE_H
#define MD_SERVE_SERVE_H

#include "base/clock.h"
#include "graph/executable.h"

struct md_serve;
struct md_model; /* one loaded version */
struct md_call;  /* one inference in flight */

#define MD_SERVE_NAME_MAX   64
#define MD_SERVE_MODELS_MAX 64

/* ---- loading ---- */

/*
 * Turns a folder with config.json into a graph. Registered by script/; called on the thread that
 * loads.
 */
struct md_model_builder {
    enum md_status (*build)(void *context, const char *folder, const char *model_type,
                            const char *config_json, struct md_graph *graph, struct md_error *err);
    void *context;
};

/*
 * Reads MODEL (an .onnx file, or a folder with config.json) into a new graph without publishing
 * anything. *config_json is a heap string that the caller frees (of FILE.onnx.json, or "{}",
 * for ONNX files).
 * MD_ERR_UNSUPPORTED: no front end reads it.
 */
enum md_status md_serve_read(const struct md_model_builder *builder, const char *path,
                             struct md_graph **graph, char **config_json, struct md_error *err);

struct md_serve_options {
    struct md_clock *clock;
    const struct md_backend *backend;   /* what models run on */
    const struct md_backend *reference; /* operators that backend lacks, folding, numeric checks */
    int threads;                        /* of the executor's pool, >= 1 */
    int queue_max;                      /* calls waiting; 0: 256 */
    int batch_max;                      /* rows of one batch; 0: by the device, 32 on the CPU */
    size_t plan_bytes_max;              /* see md_executable_options; 0: its default */
    size_t kept_bytes_max;              /* of kept windows, each model's; 0: none are */
    const char *passes_off;
    const char *packs_folder; /* see md_executable_options; lent */
    size_t packs_bytes_max;
    bool low_memory;
    struct md_accelerator *accelerator; /* lent, takes what it can; NULL: the CPU does it all */
    const char *cpu_reason;             /* lent: why there is none; NULL: nobody asked */
    enum md_precision precision;        /* on it */
};

enum md_status md_serve_new(const struct md_serve_options *options, struct md_serve **serve,
                            struct md_error *err);
/*
 * Ends the executor: the running batch finishes, queued calls end with MD_ERR_UNAVAILABLE. NULL
 * is fine.
 */
void md_serve_delete(struct md_serve *serve);
/* Set it before the first load. The builder is copied; its context must outlive serve. */
void md_serve_set_builder(struct md_serve *serve, const struct md_model_builder *builder);

/* What a service says of one of its models; zeros: nothing, so that the options hold. */
struct md_model_profile {
    bool has_precision;
    enum md_precision precision; /* on an accelerator */
    int batch_max;               /* rows of one batch, wherever it runs */
    /* Likewise on an accelerator where nobody has given another: a start, which is halved as long
     * as batches do not fit its memory. */
    int accelerator_batch_max;
};

/*
 * Builds, checks and warms on a thread of its own while batches go on, waits for it, then
 * publishes under `name` ([A-Za-z0-9_.-], below MD_SERVE_NAME_MAX). A failure leaves the version
 * that was there. The profile is copied; NULL: of zeros.
 */
enum md_status md_serve_load(struct md_serve *serve, const char *name, const char *path,
                             const struct md_model_profile *profile, struct md_error *err);
/*
 * The two halves of it: a version that nobody sees yet (the caller's reference), and its
 * publishing, which takes the reference over, also on failure.
 */
enum md_status md_serve_stage(struct md_serve *serve, const char *name, const char *path,
                              const struct md_model_profile *profile, struct md_model **model,
                              struct md_error *err);
enum md_status md_serve_commit(struct md_serve *serve, struct md_model *model,
                               struct md_error *err);
/*
 * The same with a graph made elsewhere, which is taken over, also on failure; config_json is
 * copied.
 */
enum md_status md_serve_publish(struct md_serve *serve, const char *name, const char *path,
                                struct md_graph *graph, const char *config_json,
                                struct md_error *err);
/* Takes the name out of the registry; calls in flight finish. */
enum md_status md_serve_unload(struct md_serve *serve, const char *name, struct md_error *err);

/* ---- models ---- */

/* The current version, with a reference. MD_ERR_NOT_FOUND names it. */
enum md_status md_serve_model(struct md_serve *serve, const char *name, struct md_model **model,
                              struct md_error *err);
/*
 * References to up to `max` current versions, in the order of their names; returns how many
 * there were.
 */
int md_serve_models(struct md_serve *serve, struct md_model **models, int max);
struct md_model *md_model_ref(struct md_model *model);
void md_model_unref(struct md_model *model); /* NULL is fine */

const char *md_model_name(const struct md_model *model);
const char *md_model_path(const struct md_model *model);
int64_t md_model_generation(const struct md_model *model); /* 1, 2, ... over all loads */
int64_t md_model_loaded_at_ms(const struct md_model *model);
int64_t md_model_parameters(const struct md_model *model); /* elements of the graph's weights */
const char *md_model_config(const struct md_model *model); /* the text of config.json */
const char *md_model_backend(const struct md_model *model);
bool md_model_batches(const struct md_model *model); /* concurrent calls can share a batch */
/* Rows of one batch at most, on the device that it runs on now. */
int md_model_batch_max(struct md_serve *serve, const struct md_model *model);

/* What the model takes and gives. Symbols are negative dimensions named by md_model_symbol. */
struct md_model_port {
    const char *name;
    enum md_dtype dtype;
    /* Of inputs, rank MD_RANK_UNKNOWN: any shape. An output's rank and symbols are as seen while
     * warming; dimensions that depend on data are -1, and the rank is when all of it does. */
    struct md_shape shape;
};
int md_model_input_count(const struct md_model *model);
int md_model_output_count(const struct md_model *model);
const struct md_model_port *md_model_input(const struct md_model *model, int index);
const struct md_model_port *md_model_output(const struct md_model *model, int index);
/* "?" when dim is no symbol */
const char *md_model_symbol(const struct md_model *model, int64_t dim);

/* ---- calls ---- */

struct md_port_tensor {
    const char *name; /* input of that name; NULL: the input at this position */
    struct md_tensor tensor;
};

/*
 * Queues one inference. The tensors' memory must not change until the call ends; references are
 * taken (an owner is required). Checked before queueing: every input given once, dtype, rank,
 * sizes, symbols that agree, at least one row (MD_ERR_INVALID; other dimensions may be empty), no
 * NaN or infinity unless the model takes them (MD_ERR_UNPROCESSABLE). MD_ERR_UNAVAILABLE: the queue
 * is full, or ending. deadline_ns is on the clock's monotonic side (0: none); a call that is still
 * queued then ends with MD_ERR_TIMEOUT, and one that runs alone does so at the next iteration of
 * its loops, or where its shapes depend on data.
 */
enum md_status md_serve_submit(struct md_serve *serve, struct md_model *model,
                               const struct md_port_tensor *inputs, int count, int64_t deadline_ns,
                               struct md_call **call, struct md_error *err);

/*
 * The same for a model whose rows are windows of series that are forecast again and again.
 * `windows` says whose, one a row, so that the run may use what the last ones kept (kept.h). They
 * are copied; NULL: nobody's. MD_ERR_INVALID: not as many as rows. Results are those of
 * md_serve_submit but for rounding.
 */
enum md_status md_serve_submit_rolling(struct md_serve *serve, struct md_model *model,
                                       const struct md_port_tensor *inputs, int count,
                                       const struct md_windows *windows, int64_t deadline_ns,
                                       struct md_call **call, struct md_error *err);

/*
 * Waits for the end of the call and returns how it ended. timeout_ns < 0 waits forever;
 * otherwise MD_ERR_TIMEOUT may also mean that the call is still going, which md_call_done tells.
 */
enum md_status md_call_wait(struct md_call *call, int64_t timeout_ns, struct md_error *err);
bool md_call_done(struct md_call *call);
/*
 * After success; the tensor lives as long as the call, or as long as a reference taken with
 * md_tensor_ref.
 */
const struct md_tensor *md_call_output(const struct md_call *call, int index);
/* Ends the caller's interest: a call that is still queued is cancelled. */
void md_call_unref(struct md_call *call);

/* ---- the device ---- */

/* Where models run now. */
struct md_serve_device {
    const char *runs;            /* "cpu", or the name of the driver: "cuda" */
    char why[256];               /* why not on an accelerator; "" when they do */
    bool accelerated;            /* the rest is filled in */
    enum md_precision precision; /* that was asked for */
    struct md_accelerator_report report;
    struct md_device_usage usage;
};
void md_serve_device(struct md_serve *serve, struct md_serve_device *device);
/* What the accelerator is, usable or not; NULL: there is none. */
const struct md_device_info *md_serve_accelerator(const struct md_serve *serve);
/* {"runs":"cpu","why":"no NVIDIA driver"} */
void md_serve_device_json(struct md_serve *serve, struct md_buffer *json);
/* An accelerator was there and has failed for good: says so. */
bool md_serve_device_trouble(struct md_serve *serve, char *text, size_t size);
/* Brings the device's metrics up to date; none without an accelerator. */
void md_serve_device_metrics(struct md_serve *serve);

/* Calls waiting now; for /status and tests. */
int md_serve_queue_depth(struct md_serve *serve);

#endif
