/*
 * The saver: one thread that writes changed steps to the store every interval, and now and then
 * trims it. Waiting is by a relative time-out, so no operating system clock is read here.
 */
#include "series/persist.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#define TRIM_EVERY_MS (5 * 60 * 1000)

struct md_saver {
    struct md_store *store;
    struct md_series **tables;
    int table_count;
    int interval_ms;
    int stop_fd; /* readable once the thread shall end */
    pthread_t thread;
};

static void save_all(struct md_saver *saver)
{
    for (int i = 0; i < saver->table_count; i++) {
        struct md_error err;
        if (md_series_save(saver->tables[i], saver->store, &err) != MD_OK)
            md_log(MD_LOG_DEBUG, "series", "saving failed: %s", err.text); /* the store logs once */
    }
}

static void trim(struct md_saver *saver)
{
    struct md_error err;
    if (md_store_trim(saver->store, &err) != MD_OK)
        md_log(MD_LOG_DEBUG, "store", "trimming failed: %s", err.text);
}

static void *run(void *context)
{
    struct md_saver *saver = context;
    struct pollfd stop = {.fd = saver->stop_fd, .events = POLLIN};
    int64_t since_trim_ms = 0;
    for (;;) {
        int ready = poll(&stop, 1, saver->interval_ms);
        if (ready < 0 && errno != EINTR)
            break;
        save_all(saver);
        if (ready > 0)
            break;
        since_trim_ms += saver->interval_ms;
        if (since_trim_ms >= TRIM_EVERY_MS) {
            since_trim_ms = 0;
            trim(saver);
        }
    }
    return NULL;
}

enum md_status md_saver_new(struct md_store *store, struct md_series *const *tables,
                            int table_count, int interval_ms, struct md_saver **saver,
                            struct md_error *err)
{
    *saver = NULL;
    struct md_saver *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the saver");
    *made = (struct md_saver){.store = store,
                              .table_count = table_count,
                              .interval_ms = interval_ms > 10 ? interval_ms : 10,
                              .stop_fd = eventfd(0, EFD_CLOEXEC)};
    made->tables = calloc((size_t)table_count + 1, sizeof *made->tables);
    if (made->stop_fd < 0 || !made->tables)
        goto failed;
    memcpy(made->tables, tables, (size_t)table_count * sizeof *tables);
    if (pthread_create(&made->thread, NULL, run, made) != 0)
        goto failed;
    *saver = made;
    return MD_OK;
failed:
    if (made->stop_fd >= 0)
        close(made->stop_fd);
    free(made->tables);
    free(made);
    return md_fail(err, MD_ERR_INTERNAL, "cannot start the saver: %s", strerror(errno));
}

void md_saver_delete(struct md_saver *saver)
{
    if (!saver)
        return;
    uint64_t one = 1;
    if (write(saver->stop_fd, &one, sizeof one) < 0)
        md_log(MD_LOG_ERROR, "series", "cannot wake the saver: %s", strerror(errno));
    pthread_join(saver->thread, NULL);
    close(saver->stop_fd);
    free(saver->tables);
    free(saver);
}
