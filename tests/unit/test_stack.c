/* Calls on a large stack from threads that have a small one. */
#include <pthread.h>
#include <string.h>

#include "base/stack.h"
#include "unit.h"

enum { SMALL_BYTES = 128 << 10, USED_BYTES = 4 << 20, CALLERS = 8, CALLS = 50 };

struct work {
    int calls, wrong;
    pthread_t ran_on;
};

/* Touches far more stack than the caller has. */
static void use_stack(void *context)
{
    struct work *work = context;
    volatile char room[USED_BYTES];
    for (size_t i = 0; i < sizeof room; i += 4096)
        room[i] = (char)(i >> 12);
    for (size_t i = 0; i < sizeof room; i += 4096)
        work->wrong += room[i] != (char)(i >> 12);
    work->wrong += work->calls > 0 && !pthread_equal(work->ran_on, pthread_self());
    work->ran_on = pthread_self();
    work->calls++;
}

static void *caller(void *context)
{
    struct work *work = context;
    for (int i = 0; i < CALLS; i++)
        work->wrong += md_stack_call(use_stack, work, NULL) != MD_OK;
    work->wrong += pthread_equal(work->ran_on, pthread_self()) != 0;
    return NULL;
}

static void small_threads_get_a_large_stack(void **state)
{
    pthread_t threads[CALLERS];
    struct work works[CALLERS] = {0};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SMALL_BYTES);
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], &attributes, caller, &works[i]), 0);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    pthread_attr_destroy(&attributes);
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(works[i].calls, CALLS);
        assert_int_equal(works[i].wrong, 0);
    }
}

static void call_again(void *context)
{
    struct work *work = context;
    work->wrong += md_stack_call(use_stack, work, NULL) != MD_OK;
}

/* What runs on a companion may ask for one of its own. */
static void calls_nest(void **state)
{
    struct work work = {0};
    assert_int_equal(md_stack_call(call_again, &work, NULL), MD_OK);
    assert_int_equal(work.calls, 1);
    assert_int_equal(work.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_threads_get_a_large_stack),
        cmocka_unit_test(calls_nest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
