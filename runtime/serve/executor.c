/*
 * The executor: one thread that takes the oldest call and all calls behind it that may share its
 * batch. While a batch runs, others gather in the queue; that is all the batching policy there
 * is, and it adds no waiting time.
 */
#include <stdlib.h>

#include "base/log.h"
#include "serve/internal.h"

/* Takes `call` out of the queue; `before` is its predecessor, NULL for the head. */
static void unlink_call(struct md_serve *serve, struct md_call *before, struct md_call *call)
{
    if (before != NULL) {
        before->next = call->next;
    } else {
        serve->head = call->next;
    }
    if (serve->tail == call) {
        serve->tail = before;
    }
    call->next = NULL;
    serve->depth--;
}

/* The head of the queue and all that can join it, in their order; NULL when the queue is empty. */
static struct md_call *take_batch(struct md_serve *serve, int64_t *rows)
{
    struct md_call *first = serve->head, *last = first, *before = NULL;
    int64_t rows_max;

    if (first == NULL) {
        return NULL;
    }
    rows_max = md_model_batch_max(serve, first->model);
    unlink_call(serve, NULL, first);
    *rows = first->rows;
    for (struct md_call *call = serve->head, *next; call != NULL; call = next) {
        next = call->next;
        if (!call->abandoned && *rows + call->rows <= rows_max &&
            md__call_can_join(first, call)) {
            unlink_call(serve, before, call);
            *rows += call->rows;
            last->next = call;
            last = call;
        } else {
            before = call;
        }
    }
    md_metric_set(serve->queue_depth, serve->depth);
    return first;
}

/* Ends a call that need not run: nobody waits for it, or it waited too long. */
static bool end_early(struct md_call *call, int64_t now_ns)
{
    struct md_error err = {0};

    if (call->abandoned) {
        md_fail(&err, MD_ERR_CANCELLED, "the caller has gone");
    } else if (call->deadline_ns != 0 && now_ns > call->deadline_ns) {
        md_fail(&err, MD_ERR_TIMEOUT, "waited %lld ms in the queue, past the deadline",
                (long long)((now_ns - call->queued_ns) / 1000000));
    } else {
        return false;
    }
    md__call_finish(call, &err);
    return true;
}

static void run_batch(struct md_serve *serve, struct md_call *calls)
{
    int64_t now_ns = md_monotonic_ns(serve->options.clock), rows = 0;
    struct md_call *live = NULL, **end = &live;

    for (struct md_call *call = calls, *next; call != NULL; call = next) {
        next = call->next;
        call->taken_ns = now_ns;
        md_metric_observe(call->model->metrics.queue_seconds,
                          (double)(now_ns - call->queued_ns) / 1e9);
        if (!end_early(call, now_ns)) {
            call->next = NULL;
            *end = call;
            end = &call->next;
            rows += call->rows;
        }
    }
    if (live != NULL) {
        md__batch_run(serve, live, rows);
    }
}

static void refuse_all(struct md_serve *serve)
{
    struct md_error err;

    md_fail(&err, MD_ERR_UNAVAILABLE, "the executor has ended");
    while (serve->head != NULL) {
        struct md_call *call = serve->head;
        unlink_call(serve, NULL, call);
        md__call_finish(call, &err);
    }
}

void *md__executor(void *context)
{
    struct md_serve *serve = context;

    pthread_mutex_lock(&serve->lock);
    while (!serve->ending) {
        int64_t rows = 0;
        struct md_call *calls = take_batch(serve, &rows);
        if (calls == NULL) {
            pthread_cond_wait(&serve->work, &serve->lock);
            continue;
        }
        pthread_mutex_unlock(&serve->lock);
        run_batch(serve, calls);
        pthread_mutex_lock(&serve->lock);
    }
    refuse_all(serve);
    pthread_mutex_unlock(&serve->lock);
    return NULL;
}
