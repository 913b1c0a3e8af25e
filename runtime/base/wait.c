/* Relative waits over CLOCK_MONOTONIC; see wait.h. */
#include "base/wait.h"

#include <errno.h>
#include <time.h>

enum { NS_PER_S = 1000000000 };

/* A year: keeps the sum below from overflowing, whatever the caller asks for. */
static const int64_t wait_ns_max = (int64_t)365 * 86400 * NS_PER_S;

void md_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool md_cond_wait_ns(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        pthread_cond_wait(condition, mutex);
        return true;
    }
    if (timeout_ns > wait_ns_max)
        timeout_ns = wait_ns_max;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + timeout_ns;
    until.tv_sec += ns / NS_PER_S;
    until.tv_nsec = ns % NS_PER_S;
    return pthread_cond_timedwait(condition, mutex, &until) != ETIMEDOUT;
}
