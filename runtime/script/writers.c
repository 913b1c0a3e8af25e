/* The threads that write long answers; see writers.h. They start when the first one comes. */
#include "script/writers.h"

#include <pthread.h>
#include <stdlib.h>

struct md__writers {
    int threads;
    pthread_mutex_t lock; /* held by whoever has the pool */
    struct md_pool *pool; /* NULL: not yet, or it could not be made */
};

struct md__writers *md__writers_new(int threads)
{
    struct md__writers *writers = calloc(1, sizeof *writers);
    if (writers != NULL) {
        writers->threads = threads;
        pthread_mutex_init(&writers->lock, NULL);
    }
    return writers;
}

void md__writers_delete(struct md__writers *writers)
{
    if (writers == NULL)
        return;
    if (writers->pool != NULL)
        md_pool_delete(writers->pool);
    pthread_mutex_destroy(&writers->lock);
    free(writers);
}

struct md_pool *md__writers_take(struct md__writers *writers)
{
    if (writers == NULL || writers->threads < 2 || pthread_mutex_trylock(&writers->lock) != 0)
        return NULL;
    struct md_error err;
    if (writers->pool == NULL && md_pool_new(writers->threads, 100, &writers->pool, &err) != MD_OK)
        writers->pool = NULL;
    if (writers->pool == NULL)
        pthread_mutex_unlock(&writers->lock);
    return writers->pool;
}

void md__writers_give(struct md__writers *writers, struct md_pool *pool)
{
    if (pool != NULL)
        pthread_mutex_unlock(&writers->lock);
}
