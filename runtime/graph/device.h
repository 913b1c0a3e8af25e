/*
 * What a device is: memory of its own, streams of work, and a sparse table of kernels, one slot an
 * operator. The mirror of backend.h for processors that the host only hands work to.
 *
 * A *driver* is a table of functions that a shared object exports (MD_DEVICE_ENTRY), or that is
 * linked in. It knows memory, copies, streams, events, captured work, and how to put one node's
 * kernel on a stream. What runs where, in which dtype, where values lie and what happens after a
 * failure is decided above it, in device_*.c.
 *
 * Values on a device have a *storage* dtype beside the graph's: float32 of the graph is stored as
 * float16, bfloat16 or float32, whichever the model's precision says; everything else as it is.
 * Sums and statistics are computed in float32 whatever the storage.
 *
 * Threads: one at a time may use a context and what was made from it.
 *
 * The header is read by C, by C++ and by nvcc; it names nothing of CUDA's.
 */
#ifndef MD_GRAPH_DEVICE_H
#define MD_GRAPH_DEVICE_H

#ifdef __cplusplus
#define _Atomic /* of reference counts, which no kernel touches; the layout is the same */
extern "C" {
#endif
#include "graph/graph.h"
#ifdef __cplusplus
#undef _Atomic
#endif

/* Goes up with any change of this header; the table of operators is checked by its own size. */
#define MD_DEVICE_ABI 4

struct md_device_context; /* one device, opened */
struct md_device_stream;  /* work in order */
struct md_device_event;   /* a place in a stream */
struct md_device_capture; /* work recorded once, launched as a whole */

/* ---- kernels ---- */

struct md_device_value {
    enum md_dtype dtype;   /* of the graph */
    enum md_dtype storage; /* of the elements in device memory */
    struct md_shape shape;
    void *data;        /* in device memory; NULL: an absent optional input, or still planning */
    const void *known; /* in host memory, of dtype `dtype`: contents that are known while planning
                          (constants, computed shapes); NULL: only a run will know them */
};

struct md_device_call {
    const struct md_node *node;
    const struct md_device_value *in, *out;
    int in_count, out_count;
    void *scratch;  /* device memory: scratch_bytes() bytes, aligned to 256, contents undefined */
    void *prepared; /* what prepare() made, or NULL */
    struct md_device_context *context;
    struct md_device_stream *stream;
};

struct md_device_kernel {
    /*
     * Optional: may refuse this node (dtype, storage, attribute, shape, contents); it then runs on
     * the CPU, with copies. The default accepts. No data yet; shapes are concrete.
     */
    bool (*supports)(const struct md_node *node, const struct md_device_value *in, int in_count,
                     const struct md_device_value *out, int out_count);
    /*
     * Optional: weights in a form of the kernel's own, in memory from the driver. Called before the
     * first run, never while work is captured, once for a node and its inputs' dtypes; in[i].known
     * tells the weights. *prepared may stay NULL.
     */
    enum md_status (*prepare)(struct md_device_context *context, const struct md_node *node,
                              const struct md_device_value *in, int in_count, void **prepared,
                              size_t *bytes, struct md_error *err);
    void (*unprepare)(struct md_device_context *context, void *prepared);
    /* Optional: bytes of scratch for these shapes; 0 is fine. */
    size_t (*scratch_bytes)(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count);
    /*
     * Puts the work on call->stream and returns. It must not allocate, wait, or look at what is in
     * device memory, because its work may be captured and launched again. Errors say what is wrong;
     * callers add which node it is.
     */
    enum md_status (*enqueue)(const struct md_device_call *call, struct md_error *err);
    /*
     * Bit i: enqueue or prepare reads input i through `known` only, never through `data`, which
     * stays NULL. A node where a present one of them is not known runs on the CPU. For what ONNX
     * passes as inputs though it shapes the work: axes, pads, repeats, sizes.
     */
    uint32_t host_inputs;
    bool in_place; /* output 0 may use the memory of input 0 when their byte sizes are equal */
};

/* ---- drivers ---- */

/*
 * About how fast it is, for choosing what is worth its copies. Zeros: it takes no time at all, so
 * that everything it can do is put there.
 */
struct md_device_speed {
    double flops, bytes; /* a second: float32 arithmetic, its own memory */
    double copy_bytes;   /* a second, between host and device */
    double step_s;       /* one kernel in a stream, however small */
    double copy_s;       /* one copy likewise */
    double wait_s;       /* for all that is on a stream */
};

struct md_device_info {
    char name[96];    /* "NVIDIA H200" */
    char version[96]; /* "driver 13.0, runtime 13.0", for people */
    int index;        /* among the devices of this driver */
    int major, minor; /* compute capability */
    size_t memory_bytes;
    struct md_device_speed speed;
};

/* How busy a device is, with everything that runs on it; -1: not known. */
struct md_device_usage {
    double busy_pct, memory_busy_pct; /* of the time: computing; moving memory */
    double memory_used_bytes;
    double clock_mhz, memory_clock_mhz;
    double power_w, temperature_c;
};

/* What a kernel met that no host looks at while work runs; the run is not to be trusted. */
enum md_device_notice {
    MD_DEVICE_OVERFLOW = 1, /* a finite number that its storage does not hold was stored */
    MD_DEVICE_OUTSIDE = 2   /* an index lay outside its axis */
};

/*
 * Every function that can fail returns a status: MD_ERR_MEMORY when device or pinned memory is
 * full, MD_ERR_UNAVAILABLE when there is no device to use (no driver, too old), MD_ERR_DEVICE for
 * the rest. After a failure `lost` tells whether the context can still be used.
 */
struct md_device_driver {
    int abi;                                       /* MD_DEVICE_ABI */
    int op_count;                                  /* MD_OP_COUNT */
    const char *name;                              /* "cuda" */
    const struct md_device_kernel *const *kernels; /* MD_OP_COUNT slots; NULL: not supported */

    /* How many devices there are that it can run on; why there are none. */
    enum md_status (*count)(int *count, struct md_error *err);
    enum md_status (*open)(int index, struct md_device_context **context, struct md_error *err);
    /* Everything made from it must be gone, unless the context is lost. */
    void (*close)(struct md_device_context *context);
    void (*info)(struct md_device_context *context, struct md_device_info *info);
    /* A *sticky* error has happened: nothing works in this context any more. Never fails. */
    bool (*lost)(struct md_device_context *context);

    /* Device memory, aligned to 256; pinned host memory, which copies need while captured.
     * NULL may be released. */
    enum md_status (*allocate)(struct md_device_context *context, size_t bytes, void **memory,
                               struct md_error *err);
    void (*release)(struct md_device_context *context, void *memory);
    enum md_status (*pin)(struct md_device_context *context, size_t bytes, void **memory,
                          struct md_error *err);
    void (*unpin)(struct md_device_context *context, void *memory);
    enum md_status (*memory)(struct md_device_context *context, size_t *free_bytes,
                             size_t *total_bytes, struct md_error *err);

    /* Bits of what kernels have met since the last call that gave any. While streams have work
     * left, 0 says that what is done met nothing, and more that somebody met it. NULL: nobody
     * knows. Never fails. */
    unsigned (*notices)(struct md_device_context *context);

    /* Never fails, and works in a context that is lost. */
    void (*usage)(struct md_device_context *context, struct md_device_usage *usage);

    enum md_status (*stream_new)(struct md_device_context *context,
                                 struct md_device_stream **stream, struct md_error *err);
    void (*stream_delete)(struct md_device_stream *stream);
    /* Until all work on it is done; tells what went wrong in it, too. */
    enum md_status (*stream_wait)(struct md_device_stream *stream, struct md_error *err);

    enum md_status (*event_new)(struct md_device_context *context, struct md_device_event **event,
                                struct md_error *err);
    void (*event_delete)(struct md_device_event *event);
    enum md_status (*event_record)(struct md_device_event *event, struct md_device_stream *stream,
                                   struct md_error *err);
    /* The stream's further work waits for the event. */
    enum md_status (*event_follow)(struct md_device_event *event, struct md_device_stream *stream,
                                   struct md_error *err);
    /* Between two events that have happened. */
    enum md_status (*event_elapsed)(struct md_device_event *from, struct md_device_event *to,
                                    int64_t *elapsed_ns, struct md_error *err);

    /* Put on the stream. Host memory is pinned wherever work is captured. */
    enum md_status (*upload)(struct md_device_stream *stream, void *to, const void *from,
                             size_t bytes, struct md_error *err);
    enum md_status (*download)(struct md_device_stream *stream, void *to, const void *from,
                               size_t bytes, struct md_error *err);
    enum md_status (*copy)(struct md_device_stream *stream, void *to, const void *from,
                           size_t bytes, struct md_error *err);
    enum md_status (*fill)(struct md_device_stream *stream, void *to, int byte, size_t bytes,
                           struct md_error *err);
    /* Elements of one float dtype (float32, float16, bfloat16) into another, both in device memory,
     * not overlapping; round to nearest even, beyond the range to infinity. */
    enum md_status (*convert)(struct md_device_stream *stream, void *to, enum md_dtype to_dtype,
                              const void *from, enum md_dtype from_dtype, size_t count,
                              struct md_error *err);

    /* Work put on the stream from begin to end is recorded, not done. A failure in between still
     * needs capture_end, which then fails or gives what may be deleted. */
    enum md_status (*capture_begin)(struct md_device_stream *stream, struct md_error *err);
    enum md_status (*capture_end)(struct md_device_stream *stream,
                                  struct md_device_capture **capture, struct md_error *err);
    enum md_status (*capture_launch)(struct md_device_capture *capture,
                                     struct md_device_stream *stream, struct md_error *err);
    void (*capture_delete)(struct md_device_capture *capture);
};

/* The one symbol that a shared object with a driver exports. */
#define MD_DEVICE_ENTRY "md_device_driver_table"
typedef const struct md_device_driver *(*md_device_entry)(void);

#ifdef __cplusplus
}
#endif

#endif
