/* See failing_driver.h. One driver at a time: its tables are static. */
#include "failing_driver.h"

#include "unit.h"

static const struct md_device_driver *inner;
static struct md_device_driver driver;
static struct md_device_kernel kernels[MD_OP_COUNT];
static const struct md_device_kernel *table[MD_OP_COUNT];
static int alive;

static struct {
    int calls, at;
    enum md_status status;
    bool sticky, lost;
} failing = {.at = -1};

void failing_driver_at(int n, enum md_status status, bool sticky)
{
    failing.calls = 0;
    failing.at = n;
    failing.status = status;
    failing.sticky = sticky;
    failing.lost = false;
}

int failing_driver_calls(void)
{
    return failing.calls;
}

int failing_driver_alive(void)
{
    return alive;
}

static enum md_status count_call(struct md_error *err)
{
    int call = failing.calls++;
    if (failing.lost)
        return md_fail(err, MD_ERR_DEVICE, "the device was lost before call %d", call);
    if (call != failing.at)
        return MD_OK;
    failing.lost = failing.sticky;
    return md_fail(err, failing.status, "call %d was told to fail", call);
}

/* A call that makes something. */
#define MAKE(call)                                                                                 \
    enum md_status status = count_call(err);                                                       \
    status = status ? status : (call);                                                             \
    alive += !status;                                                                              \
    return status

/* One that does not. */
#define DO(call)                                                                                   \
    enum md_status status = count_call(err);                                                       \
    return status ? status : (call)

static enum md_status enqueue(const struct md_device_call *call, struct md_error *err)
{
    DO(inner->kernels[call->node->op]->enqueue(call, err));
}

static enum md_status count_devices(int *count, struct md_error *err)
{
    DO(inner->count(count, err));
}

static enum md_status open_device(int index, struct md_device_context **context,
                                  struct md_error *err)
{
    DO(inner->open(index, context, err));
}

static bool is_lost(struct md_device_context *context)
{
    return failing.lost || inner->lost(context);
}

static enum md_status allocate(struct md_device_context *context, size_t bytes, void **memory,
                               struct md_error *err)
{
    MAKE(inner->allocate(context, bytes, memory, err));
}

static void release(struct md_device_context *context, void *memory)
{
    alive -= memory != NULL;
    inner->release(context, memory);
}

static enum md_status pin(struct md_device_context *context, size_t bytes, void **memory,
                          struct md_error *err)
{
    MAKE(inner->pin(context, bytes, memory, err));
}

static void unpin(struct md_device_context *context, void *memory)
{
    alive -= memory != NULL;
    inner->unpin(context, memory);
}

static enum md_status stream_new(struct md_device_context *context,
                                 struct md_device_stream **stream, struct md_error *err)
{
    MAKE(inner->stream_new(context, stream, err));
}

static void stream_delete(struct md_device_stream *stream)
{
    alive -= stream != NULL;
    inner->stream_delete(stream);
}

/* Work that is under way ends before a failure is told: what it reads may be freed then. */
static enum md_status stream_wait(struct md_device_stream *stream, struct md_error *err)
{
    enum md_status status = count_call(err);
    enum md_status ended = inner->stream_wait(stream, status ? NULL : err);
    return status ? status : ended;
}

static enum md_status event_new(struct md_device_context *context, struct md_device_event **event,
                                struct md_error *err)
{
    MAKE(inner->event_new(context, event, err));
}

static void event_delete(struct md_device_event *event)
{
    alive -= event != NULL;
    inner->event_delete(event);
}

static enum md_status event_record(struct md_device_event *event, struct md_device_stream *stream,
                                   struct md_error *err)
{
    DO(inner->event_record(event, stream, err));
}

static enum md_status event_follow(struct md_device_event *event, struct md_device_stream *stream,
                                   struct md_error *err)
{
    DO(inner->event_follow(event, stream, err));
}

static enum md_status upload(struct md_device_stream *stream, void *to, const void *from,
                             size_t bytes, struct md_error *err)
{
    DO(inner->upload(stream, to, from, bytes, err));
}

static enum md_status download(struct md_device_stream *stream, void *to, const void *from,
                               size_t bytes, struct md_error *err)
{
    DO(inner->download(stream, to, from, bytes, err));
}

static enum md_status copy(struct md_device_stream *stream, void *to, const void *from,
                           size_t bytes, struct md_error *err)
{
    DO(inner->copy(stream, to, from, bytes, err));
}

static enum md_status convert(struct md_device_stream *stream, void *to, enum md_dtype to_dtype,
                              const void *from, enum md_dtype from_dtype, size_t count,
                              struct md_error *err)
{
    DO(inner->convert(stream, to, to_dtype, from, from_dtype, count, err));
}

static enum md_status capture_begin(struct md_device_stream *stream, struct md_error *err)
{
    DO(inner->capture_begin(stream, err));
}

/* Also when it fails, the capture is over. */
static enum md_status capture_end(struct md_device_stream *stream,
                                  struct md_device_capture **capture, struct md_error *err)
{
    enum md_status status = count_call(err), ended = inner->capture_end(stream, capture, err);
    if (status && !ended)
        inner->capture_delete(*capture);
    alive += !status && !ended;
    return status ? status : ended;
}

static enum md_status capture_launch(struct md_device_capture *capture,
                                     struct md_device_stream *stream, struct md_error *err)
{
    DO(inner->capture_launch(capture, stream, err));
}

static void capture_delete(struct md_device_capture *capture)
{
    alive -= capture != NULL;
    inner->capture_delete(capture);
}

const struct md_device_driver *failing_driver(const struct md_device_driver *driven)
{
    inner = driven;
    for (enum md_op op = 0; op < MD_OP_COUNT; op++) {
        table[op] = inner->kernels[op] ? &kernels[op] : NULL;
        if (!table[op])
            continue;
        kernels[op] = *inner->kernels[op];
        kernels[op].enqueue = enqueue;
    }
    driver = *inner;
    driver.kernels = table;
    driver.count = count_devices;
    driver.open = open_device;
    driver.lost = is_lost;
    driver.allocate = allocate;
    driver.release = release;
    driver.pin = pin;
    driver.unpin = unpin;
    driver.stream_new = stream_new;
    driver.stream_delete = stream_delete;
    driver.stream_wait = stream_wait;
    driver.event_new = event_new;
    driver.event_delete = event_delete;
    driver.event_record = event_record;
    driver.event_follow = event_follow;
    driver.upload = upload;
    driver.download = download;
    driver.copy = copy;
    driver.convert = convert;
    driver.capture_begin = capture_begin;
    driver.capture_end = capture_end;
    driver.capture_launch = capture_launch;
    driver.capture_delete = capture_delete;
    alive = 0;
    failing_driver_at(-1, MD_OK, false);
    return &driver;
}

void failing_driver_walk(bool (*once)(int n, enum md_status status, bool sticky),
                         int (*end)(void **state), enum md_status status, bool sticky)
{
    int n = 0;
    for (bool more = true; more; n++) {
        more = once(n, status, sticky);
        assert_int_equal(end(NULL), 0);
    }
    assert_true(n > 40); /* so many calls there are at the least */
}
