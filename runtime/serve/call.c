/*
 * One call: an object with two owners, the submitter and the queue (then the executor). Whoever
 * is last frees it, so a submitter that gives up never waits for the executor.
 */
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "base/wait.h"
#include "serve/internal.h"

static void call_free(struct md_call *call)
{
    md_tensors_unref(call->inputs, call->model->input_count);
    md_tensors_unref(call->outputs, call->model->output_count);
    free(call->inputs);
    free((void *)(uintptr_t)call->windows.each);
    pthread_cond_destroy(&call->ended);
    pthread_mutex_destroy(&call->lock);
    md_model_unref(call->model);
    free(call);
}

void md__call_release(struct md_call *call)
{
    if (--call->refs == 0) {
        call_free(call);
    }
}

static struct md_call *call_new(struct md_serve *serve, struct md_model *model)
{
    struct md_call *call = calloc(1, sizeof *call);
    size_t ports = (size_t)(model->input_count + model->output_count);

    if (call == NULL) {
        return NULL;
    }
    call->inputs = calloc(ports + 1, sizeof *call->inputs);
    if (call->inputs == NULL) {
        free(call);
        return NULL;
    }
    call->outputs = call->inputs + model->input_count;
    call->refs = 2;
    call->clock = serve->options.clock;
    call->model = md_model_ref(model);
    pthread_mutex_init(&call->lock, NULL);
    md_cond_init(&call->ended);
    return call;
}

/* Why no more calls are taken now, or NULL. Under serve->lock. */
static const char *refusal(const struct md_serve *serve)
{
    if (serve->ending) {
        return "ending";
    }
    return serve->depth >= serve->options.queue_max ? "queue_full" : NULL;
}

static enum md_status enqueue(struct md_serve *serve, struct md_call *call, struct md_error *err)
{
    const char *reason;

    pthread_mutex_lock(&serve->lock);
    reason = refusal(serve);
    if (reason == NULL) {
        if (serve->tail != NULL) {
            serve->tail->next = call;
        } else {
            serve->head = call;
        }
        serve->tail = call;
        serve->depth++;
        md_metric_set(serve->queue_depth, serve->depth);
        pthread_cond_signal(&serve->work);
    }
    pthread_mutex_unlock(&serve->lock);
    if (reason != NULL) {
        md_metric_add(md_metric_get(serve->rejected, &reason), 1);
        return md_fail(err, MD_ERR_UNAVAILABLE, "the executor takes no more calls now (%s)",
                       reason);
    }
    return MD_OK;
}

static enum md_status copy_windows(struct md_call *call, const struct md_windows *windows,
                                   struct md_error *err)
{
    size_t bytes = (size_t)windows->count * sizeof *windows->each;
    struct md_window *each;

    if (windows->count != call->rows) {
        return md_fail(err, MD_ERR_INVALID, "%d windows for %lld rows", windows->count,
                       (long long)call->rows);
    }
    each = malloc(bytes);
    if (each == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a call");
    }
    memcpy(each, windows->each, bytes);
    call->windows = (struct md_windows){each, windows->count, windows->tick};
    return MD_OK;
}

enum md_status md_serve_submit(struct md_serve *serve, struct md_model *model,
                               const struct md_port_tensor *inputs, int count, int64_t deadline_ns,
                               struct md_call **submitted, struct md_error *err)
{
    return md_serve_submit_rolling(serve, model, inputs, count, NULL, deadline_ns, submitted, err);
}

enum md_status md_serve_submit_rolling(struct md_serve *serve, struct md_model *model,
                                       const struct md_port_tensor *inputs, int count,
                                       const struct md_windows *windows, int64_t deadline_ns,
                                       struct md_call **submitted, struct md_error *err)
{
    struct md_call *call = call_new(serve, model);
    enum md_status status;

    if (call == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a call");
    }
    status = md__model_bind(model, inputs, count, call->inputs, &call->rows, err);
    for (int i = 0; i < model->input_count; i++) {
        call->inputs[i] = status == MD_OK ? md_tensor_ref(&call->inputs[i]) : (struct md_tensor){0};
    }
    if (status == MD_OK && windows != NULL) {
        status = copy_windows(call, windows, err);
    }
    if (status == MD_OK) {
        call->deadline_ns = deadline_ns;
        call->queued_ns = md_monotonic_ns(call->clock);
        status = enqueue(serve, call, err);
    }
    if (status != MD_OK) {
        call->refs = 1;
        md__call_release(call);
        return status;
    }
    *submitted = call;
    return MD_OK;
}

void md__call_finish(struct md_call *call, const struct md_error *err)
{
    if (err != NULL) {
        call->error = *err;
    }
    md_metric_add(err != NULL ? call->model->metrics.failures : call->model->metrics.requests, 1);
    pthread_mutex_lock(&call->lock);
    call->state = MD__CALL_DONE;
    pthread_cond_broadcast(&call->ended);
    pthread_mutex_unlock(&call->lock);
    md__call_release(call);
}

/* Where the time went while another thread worked for us. */
static void mark_stages(const struct md_call *call)
{
    if (call->begin_ns != 0) {
        md_span_mark("queue", call->queued_ns, call->taken_ns);
        md_span_mark("batch", call->taken_ns, call->begin_ns);
        md_span_mark("run", call->begin_ns, call->end_ns);
    }
}

enum md_status md_call_wait(struct md_call *call, int64_t timeout_ns, struct md_error *err)
{
    int64_t until_ns = md_monotonic_ns(call->clock) + timeout_ns, left_ns = timeout_ns;
    bool done;

    pthread_mutex_lock(&call->lock);
    while (call->state != MD__CALL_DONE) {
        if (!md_cond_wait_ns(&call->ended, &call->lock, left_ns)) {
            break;
        }
        if (timeout_ns >= 0) {
            left_ns = until_ns - md_monotonic_ns(call->clock);
            left_ns = left_ns > 0 ? left_ns : 0;
        }
    }
    done = call->state == MD__CALL_DONE;
    pthread_mutex_unlock(&call->lock);
    if (!done) {
        return md_fail(err, MD_ERR_TIMEOUT, "model \"%s\" did not answer in %lld ms",
                       call->model->name, (long long)(timeout_ns / 1000000));
    }
    mark_stages(call);
    if (call->error.code != MD_OK && err != NULL) {
        *err = call->error;
    }
    return call->error.code;
}

bool md_call_done(struct md_call *call)
{
    bool done;

    pthread_mutex_lock(&call->lock);
    done = call->state == MD__CALL_DONE;
    pthread_mutex_unlock(&call->lock);
    return done;
}

const struct md_tensor *md_call_output(const struct md_call *call, int index)
{
    return index >= 0 && index < call->model->output_count ? &call->outputs[index] : NULL;
}

void md_call_unref(struct md_call *call)
{
    if (call != NULL) {
        call->abandoned = true;
        md__call_release(call);
    }
}
