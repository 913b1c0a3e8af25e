/*
 * A companion thread for every thread that asks, found through a thread-specific key whose
 * destructor ends it together with its owner. Owner and companion never run at the same time: each
 * waits for the other's semaphore.
 */
#include "base/stack.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/span.h"

struct companion {
    pthread_t thread;
    sem_t begin, end;
    void (*run)(void *context); /* NULL: end */
    void *context;
    struct md_stages *stages; /* the owner's: what is run here belongs to the same request */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_problem;

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
    } /* a signal came in between */
}

static void *companion_main(void *argument)
{
    struct companion *companion = argument;
    for (;;) {
        wait_for(&companion->begin);
        if (companion->run == NULL)
            return NULL;
        md_stages_borrow(companion->stages);
        companion->run(companion->context);
        md_stages_give_back(companion->stages);
        sem_post(&companion->end);
    }
}

static void companion_free(struct companion *companion)
{
    sem_destroy(&companion->begin);
    sem_destroy(&companion->end);
    free(companion);
}

static void companion_end(void *argument)
{
    struct companion *companion = argument;
    companion->run = NULL;
    sem_post(&companion->begin);
    pthread_join(companion->thread, NULL);
    companion_free(companion);
}

static void make_key(void)
{
    key_problem = pthread_key_create(&key, companion_end);
}

static struct companion *companion_new(void)
{
    struct companion *companion = calloc(1, sizeof *companion);
    pthread_attr_t attributes;
    if (companion == NULL)
        return NULL;
    sem_init(&companion->begin, 0, 0);
    sem_init(&companion->end, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MD_STACK_BYTES);
    int problem = pthread_create(&companion->thread, &attributes, companion_main, companion);
    pthread_attr_destroy(&attributes);
    if (problem != 0) {
        companion_free(companion);
        return NULL;
    }
    if (pthread_setspecific(key, companion) != 0) {
        companion_end(companion);
        return NULL;
    }
    return companion;
}

static _Thread_local bool is_enough;

void md_stack_declare(void)
{
    is_enough = true;
}

enum md_status md_stack_call(void (*run)(void *context), void *context, struct md_error *err)
{
    if (is_enough) {
        run(context);
        return MD_OK;
    }
    pthread_once(&once, make_key);
    struct companion *companion = key_problem == 0 ? pthread_getspecific(key) : NULL;
    if (companion == NULL && key_problem == 0)
        companion = companion_new();
    if (companion == NULL)
        return md_fail(err, MD_ERR_UNAVAILABLE, "cannot make a thread");
    companion->run = run;
    companion->context = context;
    companion->stages = &md_stages;
    sem_post(&companion->begin);
    wait_for(&companion->end);
    return MD_OK;
}

static _Thread_local uintptr_t stack_low;
static _Thread_local bool stack_known;

uintptr_t md_stack_low(void)
{
    pthread_attr_t attributes;
    void *lowest;
    size_t bytes;
    if (stack_known)
        return stack_low;
    stack_known = true;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return 0;
    if (pthread_attr_getstack(&attributes, &lowest, &bytes) == 0)
        stack_low = (uintptr_t)lowest + bytes / 4;
    pthread_attr_destroy(&attributes);
    return stack_low;
}
