/*
 * Fibers for the blocks of emulate.h.
 *
 * Switching is by the compiler's own setjmp and longjmp, ucontext only makes the stacks. What else
 * there is would be most of a test's time: swapcontext asks the kernel for the signal mask each
 * time, and at the library's longjmp (as at any call that does not return, hence SWITCHES_STACKS)
 * AddressSanitizer clears what it knows of the whole stack. It is told of every switch.
 */
#include "kernels/cuda/emulate.h"

#include "graph/device_host.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define SWITCHES_STACKS __attribute__((noinline, no_sanitize("address")))

thread_local md__block md__emulated;

namespace
{

constexpr size_t stack_bytes = (size_t)256 << 10;
constexpr int launch_failed = 719; /* as cudaError numbers it */

enum { READY, WAITS_BLOCK, WAITS_WARP, ENDED };

struct fiber {
    ucontext_t context;
    void *state[5]; /* as __builtin_setjmp() asks */
    void *stack = nullptr, *fake = nullptr;
    md__lane *lane = nullptr; /* the thread that waits in it */
    bool begun = false;
    ~fiber()
    {
        if (stack)
            munmap(stack, stack_bytes);
    }
};

/* Of one host thread: stacks are kept from launch to launch. */
struct scheduler {
    std::vector<std::unique_ptr<fiber>> fibers;
    std::vector<fiber *> idle;
    std::vector<md__lane> lanes;
    fiber *current = nullptr;
    void *state[5];
    void *fake = nullptr;
    const void *stack = nullptr; /* the scheduler's own */
    size_t stack_size = 0;
    unsigned next = 0; /* the first thread that has not begun */
    void (*thread)(const void *) = nullptr;
    const void *argument = nullptr;
};
thread_local scheduler here;

void leave_scheduler(fiber *to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&here.fake, to->stack, stack_bytes);
#endif
    (void)to;
}

void enter_scheduler()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(here.fake, nullptr, nullptr);
#endif
}

void leave_fiber()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&here.current->fake, here.stack, here.stack_size);
#endif
}

void enter_fiber()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(here.current->fake, &here.stack, &here.stack_size);
#endif
}

/* Back to the scheduler; returns when it resumes this fiber. */
SWITCHES_STACKS void suspend()
{
    fiber *self = here.current;
    if (__builtin_setjmp(self->state) == 0) {
        leave_fiber();
        __builtin_longjmp(here.state, 1);
    }
    enter_fiber();
}

/* Takes thread after thread, and waits for another launch when there are none. */
void fiber_main()
{
    enter_fiber();
    for (;;) {
        while (here.next < here.lanes.size()) {
            md__lane *lane = &here.lanes[here.next++];
            md__emulated.self = lane;
            here.thread(here.argument);
            md__emulated.self->waits = ENDED;
        }
        here.idle.push_back(here.current);
        suspend();
    }
}

fiber *idle_fiber()
{
    if (!here.idle.empty()) {
        fiber *found = here.idle.back();
        here.idle.pop_back();
        return found;
    }
    auto made = std::make_unique<fiber>();
    void *stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        abort(); /* of a test */
    made->stack = stack;
    getcontext(&made->context);
    made->context.uc_stack.ss_sp = stack;
    made->context.uc_stack.ss_size = stack_bytes;
    made->context.uc_link = nullptr;
    makecontext(&made->context, fiber_main, 0);
    here.fibers.push_back(std::move(made));
    return here.fibers.back().get();
}

SWITCHES_STACKS void resume(fiber *to)
{
    here.current = to;
    to->lane = nullptr;
    if (__builtin_setjmp(here.state) == 0) {
        leave_scheduler(to);
        if (to->begun)
            __builtin_longjmp(to->state, 1);
        to->begun = true;
        setcontext(&to->context);
    }
    enter_scheduler();
}

unsigned lanes_waiting(unsigned warp, unsigned mask)
{
    unsigned found = 0;
    for (unsigned i = 0; i < 32 && warp * 32 + i < here.lanes.size(); i++) {
        const md__lane *lane = &here.lanes[warp * 32 + i];
        if (lane->waits == WAITS_WARP && lane->mask == mask)
            found |= 1u << i;
    }
    return found;
}

/* Lets go whoever waited for what has come; false: nobody did. */
bool release()
{
    bool any = false, whole = true;
    for (const md__lane &lane : here.lanes)
        whole = whole && (lane.waits == WAITS_BLOCK || lane.waits == ENDED);
    for (md__lane &lane : here.lanes)
        if (whole && lane.waits == WAITS_BLOCK) {
            lane.waits = READY;
            any = true;
        }
    for (unsigned i = 0; i < here.lanes.size(); i++) {
        md__lane *lane = &here.lanes[i];
        if (lane->waits != WAITS_WARP || lanes_waiting(i / 32, lane->mask) != lane->mask)
            continue;
        unsigned mask = lane->mask;
        for (unsigned k = 0; k < 32; k++)
            if (mask >> k & 1)
                here.lanes[i / 32 * 32 + k].waits = READY;
        any = true;
    }
    return any;
}

void run_block()
{
    static thread_local std::vector<fiber *> waiting, now;
    here.next = 0;
    waiting.clear();
    for (;;) {
        now.swap(waiting);
        waiting.clear();
        for (fiber *one : now) {
            if (one->lane->waits == READY) {
                md__emulated.self = one->lane;
                resume(one);
            }
            if (one->lane)
                waiting.push_back(one);
        }
        while (here.next < here.lanes.size()) {
            fiber *one = idle_fiber();
            resume(one);
            if (one->lane)
                waiting.push_back(one);
        }
        if (waiting.empty())
            return;
        if (!release()) {
            fprintf(stderr, "emulated launch: threads of a block wait for different things\n");
            abort();
        }
    }
}

void reset_lanes(dim3 block)
{
    unsigned number = 0;
    for (unsigned z = 0; z < block.z; z++)
        for (unsigned y = 0; y < block.y; y++)
            for (unsigned x = 0; x < block.x; x++, number++)
                here.lanes[number] = md__lane{dim3(x, y, z), number, 0, READY, 0};
}

/* A launch as it waits in a stream: this, then the kernel's arguments. */
struct launch {
    dim3 grid, block;
    size_t shared_bytes;
    void (*thread)(const void *);
    alignas(16) unsigned char context[1024];
};

void run(const void *arguments)
{
    const launch *work = static_cast<const launch *>(arguments);
    here.thread = work->thread;
    here.argument = work->context;
    here.lanes.assign((size_t)work->block.x * work->block.y * work->block.z, md__lane{});
    md__emulated.grid = work->grid;
    md__emulated.size = work->block;
    std::unique_ptr<unsigned char[]> shared(new unsigned char[work->shared_bytes]);
    md__emulated.shared = shared.get();
    for (unsigned z = 0; z < work->grid.z; z++)
        for (unsigned y = 0; y < work->grid.y; y++)
            for (unsigned x = 0; x < work->grid.x; x++) {
                md__emulated.index = dim3(x, y, z);
                memset(shared.get(), 0xff, work->shared_bytes);
                reset_lanes(work->block);
                run_block();
            }
}

} // namespace

void md__emulated_wait(bool whole_block, unsigned mask)
{
    md__lane *lane = md__emulated.self;
    lane->waits = whole_block ? WAITS_BLOCK : WAITS_WARP;
    lane->mask = mask;
    here.current->lane = lane;
    suspend();
}

int md__emulated_launch(void *stream, dim3 grid, dim3 block, size_t shared_bytes,
                        void (*thread)(const void *), const void *context, size_t bytes)
{
    launch work = {grid, block, shared_bytes, thread, {0}};
    if (bytes > sizeof work.context)
        return launch_failed;
    memcpy(work.context, context, bytes);
    if (stream) {
        struct md_error err;
        enum md_status status = md_device_host_do(static_cast<struct md_device_stream *>(stream),
                                                  run, &work, sizeof work, &err);
        return status == MD_OK ? 0 : launch_failed;
    }
    run(&work);
    return 0;
}

/* ---- what a GPU's context has, and this one has not ------------------------------------------ */

extern "C" {
void *md__cuda_stream_of(struct md_device_stream *stream);
void *md__cuda_libraries_of(struct md_device_context *context);
/* A table of a test's own, for all contexts; NULL: none. */
void md__emulated_libraries(void *libraries);
}

void *md__cuda_stream_of(struct md_device_stream *stream)
{
    return stream;
}

static void *given_libraries;

void md__emulated_libraries(void *libraries)
{
    given_libraries = libraries;
}

void *md__cuda_libraries_of(struct md_device_context *context)
{
    (void)context;
    return given_libraries;
}
