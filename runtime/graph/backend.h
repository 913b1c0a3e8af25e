/*
 * What a backend is: a sparse table of kernels, one slot an operator.
 *
 * A kernel computes one node from input tensors to output tensors of planned shapes. It never
 * allocates (but for md_kernel_output): scratch memory is asked for while planning, packed weights
 * are prepared once and owned by the executable. `run` may split its work over call->pool. Inputs
 * and outputs never overlap unless `in_place` is set and the planner chose it for input 0.
 */
#ifndef MD_GRAPH_BACKEND_H
#define MD_GRAPH_BACKEND_H

#include "base/pool.h"
#include "graph/graph.h"

/*
 * A window of the batch that moves on from run to run (kept.h), and memory that outlives runs:
 * kept_bytes() bytes at a multiple of 64, zeros at first, this window's alone.
 */
struct md_kept_window {
    void *memory;
    int64_t first; /* the number of its first step, which goes up as it moves on */
};

struct md_kept_windows {
    const struct md_kept_window *windows; /* one a sequence of the batch */
    int count;
    _Atomic int64_t rows, computed; /* both the kernel's to count: found as they were, computed */
};

struct md_kernel_call {
    const struct md_node *node;
    const struct md_tensor *in; /* data == NULL: an absent optional input */
    struct md_tensor *out;
    int in_count, out_count;
    void *scratch;                /* scratch_bytes() bytes, aligned to 64, contents undefined */
    const void *prepared;         /* what prepare() made, or NULL */
    struct md_pool *pool;         /* md_pool_threads(pool) threads */
    struct md_tail *tail;         /* where md_kernel_output takes memory from */
    struct md_kept_windows *kept; /* NULL: this run keeps nothing */
    /* Of inputs, then outputs, where the kernel is `pitched`; NULL: all are dense. */
    const size_t *pitch;
};

/*
 * Elements from one line of the last axis to the next in argument i (inputs, then outputs): more
 * than a line's own `dense` ones where the tensor lies inside a wider one.
 */
static inline size_t md_kernel_pitch(const struct md_kernel_call *call, int i, size_t dense)
{
    return call->pitch && call->pitch[i] ? call->pitch[i] : dense;
}

/* What a run may still take for tensors whose size no plan knew. */
struct md_tail {
    size_t bytes, bytes_max;
};

/*
 * For kernels whose rule set MD_DIM_DATA in output i: its size is known now. Checks it against the
 * caps and makes call->out[i], zeroed, which had no data until now. Call it once for each such
 * output, also when it is empty. Errors: MD_ERR_TOO_LARGE, MD_ERR_MEMORY.
 */
enum md_status md_kernel_output(const struct md_kernel_call *call, int i,
                                const struct md_shape *shape, struct md_error *err);

/* While planning, tensors carry dtype and shape; data is set only for constants. */
struct md_kernel {
    /*
     * Optional: may refuse this node (dtype, attribute, size); the default accepts. For a fused
     * operator the answer must not depend on the size of a symbol: once lowered at load, its body
     * is gone, and a refusal while planning other shapes is an error.
     */
    bool (*supports)(const struct md_node *node, const struct md_tensor *in, int in_count);
    /*
     * Optional: packs constant inputs. *prepared may stay NULL. Called once per node, before any
     * run; shapes of other inputs are those of the first plan and will change.
     *
     * Without prepared_free the result is *flat*: one block of *bytes from md_prepared_new, with
     * offsets instead of pointers in it, never written once prepare has returned. Such a block may
     * also come from a file that another process wrote (packs.h), mapped at any address; then
     * prepare is not called.
     */
    enum md_status (*prepare)(const struct md_node *node, const struct md_tensor *in, int in_count,
                              void **prepared, size_t *bytes, struct md_error *err);
    void (*prepared_free)(void *prepared); /* only for what is not flat */
    /* Optional: bytes of scratch for these shapes; 0 is fine. Contents that the node's shape rule
     * asked for are there, too; float32 of rank 2 and above only where prepare had it. */
    size_t (*scratch_bytes)(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads);
    /*
     * Optional: bytes that run would keep for a window, from one run to the next, for these shapes;
     * 0: none. What is kept may cost or spare time; it never changes results beyond rounding.
     */
    size_t (*kept_bytes)(const struct md_node *node, const struct md_tensor *in, int in_count);
    /* Errors of prepare and run say what is wrong; callers add which node it is. */
    enum md_status (*run)(const struct md_kernel_call *call, struct md_error *err);
    bool in_place; /* output 0 may use the memory of input 0 when their byte sizes are equal */
    /* The inputs, by bits, and outputs that run() takes with a pitch, where all are float32. */
    uint32_t pitched;
};

#define MD_PITCHED_OUT        ((uint32_t)1 << 31) /* every output */
#define MD_PITCHED_IN(i)      ((i) < 31 ? (uint32_t)1 << (i) : 0)
#define MD_PITCHED_EVERYWHERE (~(uint32_t)0)

/* A zeroed flat block, aligned to 64 bytes; NULL without memory. */
void *md_prepared_new(size_t bytes);
void md_prepared_delete(void *block, size_t bytes); /* NULL is fine */
/* Frees what this kernel's prepare made, flat or not. */
void md_kernel_unprepare(const struct md_kernel *kernel, void *prepared, size_t bytes);

struct md_backend {
    const char *name;                             /* "cpu-avx512", "cpu-reference", ... */
    const struct md_kernel *kernels[MD_OP_COUNT]; /* NULL: not supported */
};

#endif
