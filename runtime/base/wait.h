/*
 * Waiting with a limit: condition variables whose timeouts are relative, in nanoseconds of real
 * time. Under a manual clock a wait still takes real time, so that nothing hangs when time stands
 * still.
 */
#ifndef MD_BASE_WAIT_H
#define MD_BASE_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A condition variable for md_cond_wait_ns; pthread_cond_destroy ends it. */
void md_cond_init(pthread_cond_t *condition);
/*
 * Waits at most timeout_ns (negative: without limit). False when the time ran out. Wakes up
 * spuriously like any other.
 */
bool md_cond_wait_ns(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t timeout_ns);

#endif
