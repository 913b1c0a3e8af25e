/*
 * Work is a list of (function, copy of its arguments), of a stream or of a capture; copies, fills
 * and conversions are such work like any kernel. A stream's is done as late as its order allows:
 * when somebody waits for the stream, or does work that follows an event on it. So what reads or
 * frees memory without having waited finds the wrong numbers, or a sanitizer, every time and not by
 * chance. Blocks of memory carry no header, so that an overrun shows under a sanitizer, too; how
 * many are alive is counted in the context.
 */
#include "graph/device_host.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 256

struct md_device_context {
    int alive;
    struct md_device_stream *streams;
    uint64_t streams_made;
};

struct work {
    void (*run)(const void *arguments);
    void *arguments;
};

struct works {
    struct work *items;
    int count, capacity;
};

struct md_device_capture {
    struct md_device_context *context;
    struct works works;
};

struct md_device_stream {
    struct md_device_context *context;
    struct md_device_stream *next;
    uint64_t number;                /* among those made */
    struct works works;             /* given, the first of them done */
    uint64_t before, done;          /* of all works: those no longer kept; those that are done */
    struct md_device_capture *open; /* NULL: work is the stream's */
};

struct md_device_event {
    struct md_device_context *context;
    uint64_t stream, upto; /* its number, and how much of its work; 0: never recorded */
};

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

/* ---- context, memory ---- */

static enum md_status host_count(int *count, struct md_error *err)
{
    (void)err;
    *count = 1;
    return MD_OK;
}

static enum md_status host_open(int index, struct md_device_context **context, struct md_error *err)
{
    if (index != 0)
        return md_fail(err, MD_ERR_UNAVAILABLE, "there is one device, number %d is not it", index);
    *context = calloc(1, sizeof **context);
    return *context ? MD_OK : out_of_memory(err);
}

static void host_close(struct md_device_context *context)
{
    free(context);
}

static void host_info(struct md_device_context *context, struct md_device_info *info)
{
    (void)context;
    *info = (struct md_device_info){.name = "emulated device",
                                    .version = "on the host",
                                    .major = 9,
                                    .memory_bytes = SIZE_MAX / 2};
}

static bool host_lost(struct md_device_context *context)
{
    (void)context;
    return false;
}

static enum md_status host_allocate(struct md_device_context *context, size_t bytes, void **memory,
                                    struct md_error *err)
{
    *memory = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(memory, ALIGN, bytes ? bytes : 1))
        return md_fail(err, MD_ERR_MEMORY, "no memory for %zu bytes", bytes);
    context->alive++;
    return MD_OK;
}

static void host_release(struct md_device_context *context, void *memory)
{
    if (memory)
        context->alive--;
    free(memory);
}

static enum md_status host_memory(struct md_device_context *context, size_t *free_bytes,
                                  size_t *total_bytes, struct md_error *err)
{
    (void)context;
    (void)err;
    *free_bytes = *total_bytes = SIZE_MAX / 2;
    return MD_OK;
}

static _Thread_local unsigned noticed; /* work is done on the thread that waits for it */

void md_device_host_notice(unsigned bits)
{
    noticed |= bits;
}

static unsigned host_notices(struct md_device_context *context)
{
    unsigned bits = noticed;
    (void)context;
    noticed = 0;
    return bits;
}

static void host_usage(struct md_device_context *context, struct md_device_usage *usage)
{
    (void)context;
    *usage = (struct md_device_usage){-1, -1, -1, -1, -1, -1, -1};
}

/* ---- work ---- */

static void works_fini(struct works *works)
{
    for (int i = 0; i < works->count; i++)
        free(works->items[i].arguments);
    free(works->items);
    *works = (struct works){0};
}

static enum md_status works_add(struct works *works, void (*run)(const void *),
                                const void *arguments, size_t bytes, struct md_error *err)
{
    if (works->count == works->capacity) {
        int capacity = works->capacity ? works->capacity * 2 : 64;
        struct work *larger = realloc(works->items, (size_t)capacity * sizeof *larger);
        if (!larger)
            return out_of_memory(err);
        works->items = larger;
        works->capacity = capacity;
    }
    void *kept = malloc(bytes ? bytes : 1);
    if (!kept)
        return out_of_memory(err);
    memcpy(kept, arguments, bytes);
    works->items[works->count++] = (struct work){run, kept};
    return MD_OK;
}

enum md_status md_device_host_do(struct md_device_stream *stream, void (*work)(const void *),
                                 const void *arguments, size_t bytes, struct md_error *err)
{
    return works_add(stream->open ? &stream->open->works : &stream->works, work, arguments, bytes,
                     err);
}

/* Does the stream's work up to this number. Work may lead to that of other streams. */
static void catch_up(struct md_device_stream *stream, uint64_t upto)
{
    for (; stream->done < upto; stream->done++) {
        const struct work *work = &stream->works.items[stream->done - stream->before];
        work->run(work->arguments);
    }
    if (stream->done != stream->before + (uint64_t)stream->works.count)
        return;
    works_fini(&stream->works);
    stream->before = stream->done;
}

static void finish(struct md_device_stream *stream)
{
    catch_up(stream, stream->before + (uint64_t)stream->works.count);
}

/* ---- streams ---- */

static enum md_status host_stream_new(struct md_device_context *context,
                                      struct md_device_stream **stream, struct md_error *err)
{
    *stream = calloc(1, sizeof **stream);
    if (!*stream)
        return out_of_memory(err);
    **stream = (struct md_device_stream){
        .context = context, .next = context->streams, .number = ++context->streams_made};
    context->streams = *stream;
    context->alive++;
    return MD_OK;
}

static void host_capture_delete(struct md_device_capture *capture)
{
    if (!capture)
        return;
    works_fini(&capture->works);
    capture->context->alive--;
    free(capture);
}

static void host_stream_delete(struct md_device_stream *stream)
{
    if (!stream)
        return;
    finish(stream);
    host_capture_delete(stream->open);
    struct md_device_stream **at = &stream->context->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    stream->context->alive--;
    free(stream);
}

static enum md_status host_stream_wait(struct md_device_stream *stream, struct md_error *err)
{
    if (stream->open)
        return md_fail(err, MD_ERR_DEVICE, "a capture is open: nobody may wait");
    finish(stream);
    return MD_OK;
}

/* ---- events ---- */

static enum md_status host_event_new(struct md_device_context *context,
                                     struct md_device_event **event, struct md_error *err)
{
    *event = calloc(1, sizeof **event);
    if (!*event)
        return out_of_memory(err);
    (*event)->context = context;
    context->alive++;
    return MD_OK;
}

static void host_event_delete(struct md_device_event *event)
{
    if (event)
        event->context->alive--;
    free(event);
}

static enum md_status host_event_record(struct md_device_event *event,
                                        struct md_device_stream *stream, struct md_error *err)
{
    if (stream->open)
        return md_fail(err, MD_ERR_DEVICE, "events are not captured here");
    event->stream = stream->number;
    event->upto = stream->before + (uint64_t)stream->works.count;
    return MD_OK;
}

/* The work that brings a stream to where another one was when the event was recorded. A stream that
 * is gone has done all it had. */
static void follow(const void *arguments)
{
    const struct md_device_event *then = arguments;
    struct md_device_stream *stream = then->context->streams;
    while (stream && stream->number != then->stream)
        stream = stream->next;
    if (stream)
        catch_up(stream, then->upto);
}

static enum md_status host_event_follow(struct md_device_event *event,
                                        struct md_device_stream *stream, struct md_error *err)
{
    if (stream->open)
        return md_fail(err, MD_ERR_DEVICE, "events are not captured here");
    return md_device_host_do(stream, follow, event, sizeof *event, err);
}

static enum md_status host_event_elapsed(struct md_device_event *from, struct md_device_event *to,
                                         int64_t *elapsed_ns, struct md_error *err)
{
    (void)from;
    (void)to;
    (void)err;
    *elapsed_ns = 0; /* no clock is read below cli */
    return MD_OK;
}

/* ---- captures ---- */

static enum md_status host_capture_begin(struct md_device_stream *stream, struct md_error *err)
{
    if (stream->open)
        return md_fail(err, MD_ERR_DEVICE, "a capture is open already");
    stream->open = calloc(1, sizeof *stream->open);
    if (!stream->open)
        return out_of_memory(err);
    stream->open->context = stream->context;
    stream->context->alive++;
    return MD_OK;
}

static enum md_status host_capture_end(struct md_device_stream *stream,
                                       struct md_device_capture **capture, struct md_error *err)
{
    *capture = stream->open;
    stream->open = NULL;
    return *capture ? MD_OK : md_fail(err, MD_ERR_DEVICE, "no capture is open");
}

static void replay(const void *arguments)
{
    const struct md_device_capture *const *capture = arguments;
    const struct works *works = &(*capture)->works;
    for (int i = 0; i < works->count; i++)
        works->items[i].run(works->items[i].arguments);
}

static enum md_status host_capture_launch(struct md_device_capture *capture,
                                          struct md_device_stream *stream, struct md_error *err)
{
    if (stream->open)
        return md_fail(err, MD_ERR_DEVICE, "a capture cannot be launched into another");
    return md_device_host_do(stream, replay, &capture, sizeof(void *), err);
}

int md_device_host_alive(const struct md_device_context *context)
{
    return context->alive;
}

/* ---- copies ---- */

struct movement {
    void *to;
    const void *from;
    size_t bytes;
    int byte;
};

static void move(const void *arguments)
{
    const struct movement *movement = arguments;
    memcpy(movement->to, movement->from, movement->bytes);
}

static enum md_status host_copy(struct md_device_stream *stream, void *to, const void *from,
                                size_t bytes, struct md_error *err)
{
    const struct movement movement = {to, from, bytes, 0};
    return bytes ? md_device_host_do(stream, move, &movement, sizeof movement, err) : MD_OK;
}

static void set(const void *arguments)
{
    const struct movement *movement = arguments;
    memset(movement->to, movement->byte, movement->bytes);
}

static enum md_status host_fill(struct md_device_stream *stream, void *to, int byte, size_t bytes,
                                struct md_error *err)
{
    const struct movement movement = {to, NULL, bytes, byte};
    return bytes ? md_device_host_do(stream, set, &movement, sizeof movement, err) : MD_OK;
}

struct conversion {
    void *to;
    const void *from;
    enum md_dtype to_dtype, from_dtype;
    size_t count;
};

static float read_float(const void *from, enum md_dtype dtype, size_t i)
{
    switch (dtype) {
    case MD_F16:
        return md_f16_to_f32(((const uint16_t *)from)[i]);
    case MD_BF16:
        return md_bf16_to_f32(((const uint16_t *)from)[i]);
    default:
        return ((const float *)from)[i];
    }
}

static void write_float(void *to, enum md_dtype dtype, size_t i, float value)
{
    if (dtype == MD_F16)
        ((uint16_t *)to)[i] = md_f32_to_f16(value);
    else if (dtype == MD_BF16)
        ((uint16_t *)to)[i] = md_f32_to_bf16(value);
    else
        ((float *)to)[i] = value;
}

static void convert(const void *arguments)
{
    const struct conversion *conversion = arguments;
    for (size_t i = 0; i < conversion->count; i++)
        write_float(conversion->to, conversion->to_dtype, i,
                    read_float(conversion->from, conversion->from_dtype, i));
}

static enum md_status host_convert(struct md_device_stream *stream, void *to,
                                   enum md_dtype to_dtype, const void *from,
                                   enum md_dtype from_dtype, size_t count, struct md_error *err)
{
    const struct conversion conversion = {to, from, to_dtype, from_dtype, count};
    return md_device_host_do(stream, convert, &conversion, sizeof conversion, err);
}

void md_device_host_driver(struct md_device_driver *driver, const char *name,
                           const struct md_device_kernel *const *kernels)
{
    *driver = (struct md_device_driver){.abi = MD_DEVICE_ABI,
                                        .op_count = MD_OP_COUNT,
                                        .name = name,
                                        .kernels = kernels,
                                        .count = host_count,
                                        .open = host_open,
                                        .close = host_close,
                                        .info = host_info,
                                        .lost = host_lost,
                                        .allocate = host_allocate,
                                        .release = host_release,
                                        .pin = host_allocate,
                                        .unpin = host_release,
                                        .memory = host_memory,
                                        .notices = host_notices,
                                        .usage = host_usage,
                                        .stream_new = host_stream_new,
                                        .stream_delete = host_stream_delete,
                                        .stream_wait = host_stream_wait,
                                        .event_new = host_event_new,
                                        .event_delete = host_event_delete,
                                        .event_record = host_event_record,
                                        .event_follow = host_event_follow,
                                        .event_elapsed = host_event_elapsed,
                                        .upload = host_copy,
                                        .download = host_copy,
                                        .copy = host_copy,
                                        .fill = host_fill,
                                        .convert = host_convert,
                                        .capture_begin = host_capture_begin,
                                        .capture_end = host_capture_end,
                                        .capture_launch = host_capture_launch,
                                        .capture_delete = host_capture_delete};
}
