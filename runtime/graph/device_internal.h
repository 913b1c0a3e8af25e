/*
 * What an executable and its plans hold of a device. An executable has one `struct md__device`:
 * stream, weights, arena, staging. A plan made for the device has one `struct md__device_plan`: the
 * device's side of its values, the copies at the borders, and *segments*, runs of steps without one
 * of the host's in between, which are captured after a warm run.
 *
 * A value lies on the host (planner->groups), on the device (planner->device_groups), or on both,
 * once a step on the other side has needed it: then a copy step was put in before that one.
 */
#ifndef MD_GRAPH_DEVICE_INTERNAL_H
#define MD_GRAPH_DEVICE_INTERNAL_H

#include "graph/accelerator.h"
#include "graph/executable_internal.h"
#include "graph/plan_internal.h"
#include "graph/session_internal.h"

/* Packed weights of a node on the device, or a constant there. */
struct md__device_block {
    void *data; /* of prepare's results: what unprepare gets */
    size_t bytes;
    bool there; /* made, though it may be NULL */
};

#define MD__FLIGHTS      2  /* runs that are handed over before they are asked for */
#define MD__SPARE_BLOCKS 64 /* of the pool that sessions' contents are in */

struct md__device {
    struct md_accelerator *accelerator;
    const struct md_device_driver *driver;
    const struct md_graph *graph;
    enum md_dtype storage; /* of float32 */
    bool *unrounded;       /* values that are float32 in any case (device_unrounded.c) */
    bool captures;         /* segments are captured */
    bool tries;            /* the next run shows whether `storage` does (device_try.c) */
    bool weighs;           /* what is not worth its copies stays on the host */
    struct md_device_stream *stream;
    struct md_device_stream *ahead;    /* large inputs go on it (device_feed.c); NULL: none did */
    struct md_device_event *arrived;   /* the last piece of them */
    struct md__device_block *weights;  /* one a value of the graph */
    struct md__device_block *prepared; /* one a node */
    void *arena, *staging;
    size_t arena_bytes, staging_bytes;
    uint64_t generation; /* goes up when arena or staging move */
    struct md__session_block spare_blocks[MD__SPARE_BLOCKS]; /* that no session has now */
    int spare_count;
    size_t session_bytes, session_bytes_max; /* spare ones included */
    struct md_session *session;              /* of the run at hand; NULL: none hands over here */
    struct md__flights *flights;             /* NULL: nothing was ever ahead */
    bool used;                               /* in the run at hand */
    bool narrow;                             /* in the run at hand: the CPU has to do it again */
    bool outgrown;                           /* in the run at hand: numbers were out of range */
    enum md_status failed; /* in the run at hand: what the driver or a kernel gave */
    int failures;          /* runs that failed one after the other */
    bool off;              /* too many did: the CPU has it all */
};

/* A step's own part; `first` is where its values begin. */
struct md__device_work {
    const struct md_device_kernel *kernel;
    int first;
};

/* A copy between the sides. */
struct md__border {
    int host_group, device_group;
    enum md_dtype dtype, storage;
    size_t count;   /* elements */
    size_t offset;  /* of its bytes as the host sees them, in staging */
    bool ahead;     /* to the device, before the segment's work */
    size_t landing; /* then, and for `lands`: where it arrives, behind the scratch */
    int handover;   /* of sessions (session.h); MD_NONE: no part of one */
    bool lands;     /* its input: arrives before the segment's work, where that reads it */
    bool late;      /* its output: leaves after the segment's work */
};

struct md__segment {
    int begin, end; /* steps [begin, end) */
    struct md_device_capture *capture;
    struct md_device_capture *in_slot[MD__FLIGHTS]; /* the same for runs ahead (device_flight.c) */
    bool warm;                                      /* it ran once without being captured */
};

struct md__device_plan {
    struct md__device *device;
    bool *chosen;                   /* of each node of the plan: its place is the device */
    struct md_device_value *values; /* arguments of the device's steps */
    int *value_groups;              /* MD_NONE: absent, or read on the host only */
    struct md_group *groups;        /* in device memory; of a weight, index is the value */
    struct md__device_work *works;
    struct md__border *borders;
    struct md__segment *segments;
    int value_count, group_count, work_count, border_count, segment_count;
    size_t arena_bytes, scratch_bytes, landing_bytes, staging_bytes;
    uint64_t generation;         /* that `data` of the values is for; 0: not bound */
    uint64_t slot_generations[MD__FLIGHTS]; /* that in_slot is for */
};

/* ---- device_memory.c ---- */

/* executable->device, or NULL where there is no accelerator to use; a device that fails here is
 * told and not used. */
enum md_status md__device_new(struct md_executable *executable, const char *passes_off,
                              struct md_error *err);
void md__device_delete(struct md__device *device);
const char *md__device_precision(const struct md__device *device); /* NULL without a device */
/* The dtype in which a value of the graph, of dtype `dtype`, is stored. */
enum md_dtype md__device_storage(const struct md__device *device, int value, enum md_dtype dtype);
/*
 * Whether the storage holds these numbers. Below -1e8 a finite number is a mask's: float16 holds
 * another that does the same, which lift_masks puts in its place.
 */
bool md__device_holds(enum md_dtype storage, const float *data, size_t count);
void md__device_lift_masks(enum md_dtype storage, float *data, size_t count);
/* Weights, arena and staging for the plan, and its values' addresses. Under the lock. */
enum md_status md__device_ready(struct md__device *device, struct md_plan *plan,
                                struct md_error *err);
/* Captures of runs ahead in this slot go. Under the lock. */
void md__device_drop_slot(struct md__device_plan *plan, int at);
/* What the plan keeps of the device goes. */
void md__device_plan_fini(struct md__device_plan *plan);

/* ---- device_unrounded.c ---- */

/* Of options the handovers alone count. Before any plan is made. */
enum md_status md__device_find_unrounded(struct md__device *device,
                                         const struct md_executable_options *options,
                                         struct md_error *err);

/* ---- device_place.c: called by the planner ---- */

enum md_status md__device_plan_init(struct md_planner *planner, size_t tensors, size_t groups);
/*
 * Whether the device takes node n: then its step is there, and copies of what it lacked; else its
 * inputs are on the host, and all that outlives the plan, too, when n is open.
 */
bool md__device_add_node(struct md_planner *planner, int n);
/* The node's output is its input's memory, on whichever side that lies. */
void md__device_add_view(struct md_planner *planner, const struct md_node *node);
/* The kernel that could take the node; NULL: none. */
const struct md_device_kernel *md__device_kernel(struct md_planner *planner,
                                                 const struct md_node *node);
/* Once all nodes are placed: copies of what outlives the plan, segments, offsets. */
enum md_status md__device_plan_end(struct md_planner *planner);

/* The handover (session.h) whose input the value is, and whose output, where nobody else gets it;
 * MD_NONE. */
int md__device_lent_by(const struct md_planner *planner, int value);
int md__device_taken_by(const struct md_planner *planner, int value);

/* Where numbers go that float16 does not hold: bfloat16, or float32 where the device lacks it. */
enum md_dtype md__device_wide(const struct md__device *device);
/* From now on in another storage: weights and packed ones are dropped. No plan may be left. */
void md__device_restore(struct md__device *device, enum md_dtype storage);

/* ---- device_try.c ---- */

/* How far outputs may be off, by norm, for 16 bits to be chosen: of quantised models, whose values
 * fall on another step when they are off by the least, as far as steps lead. */
#define MD_DEVICE_ERROR_MAX           5e-3
#define MD_DEVICE_ERROR_QUANTIZED_MAX 2e-2

/* Whether the run at hand is to be done on the CPU, too, and compared. */
bool md__device_tries(const struct md_executable *executable);
/* Whether what the device gave is near enough; if so, its storage is settled. */
bool md__device_agrees(struct md_executable *executable, const struct md_tensor *right,
                       const struct md_tensor *outputs);
/* Under precision auto: a storage that holds more, where the last run outgrew this one or was off.
 * Drops all plans; false: there is none. */
bool md__device_widen(struct md_executable *executable);

/* ---- device_choose.c ---- */

/* Before any node is placed: fills `chosen`. */
enum md_status md__device_choose(struct md_planner *planner);

/* ---- device_feed.c ---- */

/* Bytes of a value into staging; false: the storage does not hold them. */
bool md__device_stage(const struct md__border *border, const char *from, size_t bytes, char *to);
char *md__device_staged(const struct md__device *device, const struct md__border *border);
char *md__device_landing(const struct md__device *device, const struct md__device_plan *own,
                         const struct md__border *border);
/* A value of so many bytes is worth it. */
bool md__device_goes_ahead(size_t bytes);
/* The stream and the event that it takes, at first need; their end. Under the lock. */
enum md_status md__device_open_ahead(struct md__device *device, struct md_error *err);
void md__device_close_ahead(struct md__device *device);
/*
 * What the copies in steps [begin, end) take from the host is in staging, or on its way to its
 * landing, which the device's stream waits for; `alone`: in staging. *holds is false when the
 * storage does not hold it.
 */
enum md_status md__device_feed(const struct md__device *device, const struct md_plan *plan,
                               int begin, int end, bool alone, bool *holds, struct md_error *err);
/* What they give, from staging. */
void md__device_take(const struct md__device *device, const struct md_plan *plan, int begin,
                     int end);

/* ---- device_flight.c ---- */

/* The run of these inputs was ahead and has gone well: outputs are filled. False: it is to be done,
 * and nothing is ahead any more. */
bool md__device_arrive(struct md_executable *executable, const struct md_tensor *inputs,
                       int input_count, struct md_tensor *outputs, int output_count);
/* Nothing is ahead any more. NULL is fine. */
void md__device_land(struct md__device *device);
/* Before work of this device, under the lock: that of another which is ahead is done, because
 * libraries share memory and kernels what they note. */
void md__device_quiet(struct md__device *device);
/* Device memory is full: what slots hold goes, for good; false: they hold none, or are in the air.
 * Under the lock. */
bool md__device_flights_yield(struct md__device *device);
void md__device_flights_delete(struct md__device *device);

/* ---- device_session.c ---- */

/* What no session has goes; false: there was nothing. Under the lock, as the next three. */
bool md__device_drop_blocks(struct md__device *device);
/* To where the segment reads it: the session's own, or what is staged. */
enum md_status md__device_lend(const struct md__device *device, const struct md_plan *plan,
                               const struct md__border *border, struct md_error *err);
/* Whether the output stays on the device; then: its way out of the arena. */
bool md__device_takes(const struct md__device *device, const struct md__border *border);
enum md_status md__device_hand_over(const struct md__device *device, const struct md_plan *plan,
                                    const struct md__border *border, struct md_error *err);

/* ---- device_run.c ---- */

enum md_status md__device_enqueue_work(struct md__device *device, const struct md__device_plan *own,
                                       const struct md_step *step, struct md_error *err);
/* After capture_begin and calls that gave `status`: *capture is what they captured, or NULL where
 * one of them failed, or this does. Tells the first failure. */
enum md_status md__device_capture_end(struct md__device *device, enum md_status status,
                                      struct md_device_capture **capture, struct md_error *err);
/* What kernels have noted since the last question. Under the lock. */
unsigned md__device_notices(const struct md__device *device);
/* An output is not finite, which float32 might make good. */
bool md__device_wants_float32(const struct md_executable *executable,
                              const struct md_tensor *outputs);
/* Before a run or a plan: whether it is to be on the device. */
bool md__device_begin(struct md_executable *executable);

/*
 * Runs the segment that begins at step s and tells the step after it; with `alone`, the one step.
 */
enum md_status md__device_run(struct md_executable *executable, struct md_plan *plan, int s,
                              bool alone, int *next, struct md_error *err);
/*
 * After a run on the device that ended with `status`: whether the CPU is to do it again, in which
 * case failures are counted and told.
 */
bool md__device_wants_cpu(struct md_executable *executable, enum md_status status,
                          const struct md_run_limits *limits, const struct md_tensor *outputs,
                          const struct md_error *err);

#endif
