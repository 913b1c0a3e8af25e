/*
 * The process_* metrics that Prometheus dashboards expect of any service, and others of what there
 * is now: read when someone asks.
 */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "http/internal.h"

static void set(const char *name, const char *help, double value)
{
    struct md_family *family =
        md_family_new(md_metrics_global(), MD_GAUGE, name, help, NULL, NULL, 0);

    if (family != NULL) {
        md_metric_set(md_metric_get(family, NULL), value);
    }
}

static int count_entries(const char *folder)
{
    DIR *entries = opendir(folder);
    int count = 0;

    if (entries == NULL) {
        return 0;
    }
    while (readdir(entries) != NULL) {
        count++;
    }
    closedir(entries);
    return count - 2; /* "." and ".." */
}

void md__process_metrics(struct md_http *http)
{
    unsigned long long virtual_pages = 0, resident_pages = 0;
    double page = (double)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/self/statm", "re");

    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &virtual_pages, &resident_pages) != 2) {
            resident_pages = 0;
        }
        fclose(file);
    }
    set("process_resident_memory_bytes", "Resident memory", (double)resident_pages * page);
    set("process_virtual_memory_bytes", "Virtual memory", (double)virtual_pages * page);
    set("process_open_fds", "Open file descriptors", count_entries("/proc/self/fd") - 1);
    set("process_threads", "Threads", count_entries("/proc/self/task"));
    set("process_start_time_seconds", "Start of the process, seconds since 1970",
        (double)http->started_ms / 1e3);
    set("moondial_http_connections", "Open client connections", http->connections);
    set("moondial_http_requests_in_flight", "Requests that a script is answering", http->in_flight);
}
