/*
 * moondial serve: puts the parts together, waits for a signal, and takes them apart in the reverse
 * order.
 *
 * SIGTERM and SIGINT drain: new requests are refused, those in progress finish, the scheduler ends
 * after its job, series and store are saved, exit 0. A second signal ends the process at once.
 * SIGHUP loads the scripts anew.
 */
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "cli/settings.h"
#include "kernels/cpu/cpu.h"
#include "script/builder.h"
#include "store/store.h"

#define USAGE                                                                                      \
    "serve SCRIPTS_DIR [--listen ADDR:PORT] [--state DIR] [--config FILE] [--KEY VALUE ...]"

struct daemon {
    struct md__settings settings;
    pthread_t reloader; /* on SIGHUP */
    bool reloads;
    _Atomic bool ending;
    struct md_clock *clock;
    struct md_clock_paced paced;
    struct md_clock_standing standing;
    struct md_store *store;
    struct md_model_builder builder;
    struct md_serve *serve;
    struct md__device_choice device;
    char packs_folder[PATH_MAX];
    struct md_script *script;
    struct md_http *http;
    struct md_control *control;
    int64_t started_ns;
    char secret[512], address[64];
};

/* ---- starting ---- */

/* Simulated fleets run in accelerated time, or move it on themselves: the control op `clock`. */
static enum md_status choose_clock(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    double speed = md_config_number(config, "clock_speed");
    int64_t origin_ms = md_config_int(config, "clock_origin_ms");

    if (!(speed >= 0)) {
        return md_fail(err, MD_ERR_INVALID, "clock_speed: %g is less than 0", speed);
    }
    daemon->clock = md_clock_system();
    if (speed == 0) {
        md_clock_standing_init(&daemon->standing, daemon->clock, origin_ms);
        daemon->clock = &daemon->standing.base;
    } else if (speed != 1) {
        md_clock_paced_init(&daemon->paced, daemon->clock, origin_ms, speed);
        daemon->clock = &daemon->paced.base;
    }
    return MD_OK;
}

static enum md_status start_log(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    const char *format = md_config_string(config, "log_format");
    enum md_log_level level;
    enum md_status status = md_log_level_parse(md_config_string(config, "log_level"), &level, err);

    if (status != MD_OK) {
        return status;
    }
    if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0) {
        return md_fail(err, MD_ERR_INVALID, "log_format is text or json, not \"%.32s\"", format);
    }
    md_log_setup(level, strcmp(format, "json") == 0, daemon->clock);
    return MD_OK;
}

static enum md_status open_store(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    const char *folder = md_config_string(config, "state");
    struct md_store_options options = {
        .clock = daemon->clock,
        .retention_ms = (int64_t)(md_config_number(config, "retention_days") * 86400e3),
        .bytes_max = md_config_int(config, "history_bytes_max"),
    };

    return folder[0] == '\0' ? MD_OK : md_store_open(folder, &options, &daemon->store, err);
}

/* pack_cache, or packs in the state folder; NULL: nowhere. */
static const char *packs_folder(struct daemon *daemon)
{
    const char *given = md_config_string(daemon->settings.config, "pack_cache");
    const char *state = md_config_string(daemon->settings.config, "state");

    if (given[0] == '\0' && state[0] == '\0') {
        return NULL;
    }
    if (given[0] != '\0') {
        return md__cli_packs_folder(given);
    }
    snprintf(daemon->packs_folder, sizeof daemon->packs_folder, "%s/packs", state);
    return daemon->packs_folder;
}

static enum md_status choose_device(struct daemon *daemon, struct md_serve_options *options,
                                    struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    struct md__device_choice *device = &daemon->device;
    enum md_status status =
        md_precision_parse(md_config_string(config, "precision"), &options->precision, err);

    if (status == MD_OK) {
        status = md__cli_device(md_config_string(config, "device"), device, err);
    }
    if (status == MD_OK) {
        md__cli_check_precision(device, options->precision);
    }
    options->accelerator = device->accelerator;
    options->cpu_reason = device->why;
    if (device->accelerator != NULL) {
        struct md_accelerator_report report;
        md_accelerator_report(device->accelerator, &report);
        md_log(MD_LOG_INFO, "device", "serving on %s (%s)", report.info.name, report.info.version);
    } else if (status == MD_OK && device->is_missed) {
        md_log(MD_LOG_INFO, "device", "%s: serving on the CPU", device->why);
    }
    return status;
}

static enum md_status start_executor(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    struct md_serve_options options = {
        .clock = daemon->clock,
        .reference = md_cpu_reference(),
        .threads = md__cli_threads((int)md_config_int(config, "threads")),
        .queue_max = (int)md_config_int(config, "queue_max"),
        .batch_max = (int)md_config_int(config, "batch_max"),
        .kept_bytes_max = (size_t)md_config_int(config, "rolling_bytes_max"),
        .packs_folder = packs_folder(daemon),
        .packs_bytes_max = (size_t)md_config_int(config, "pack_cache_bytes_max"),
        .low_memory = md_config_bool(config, "low_memory"),
    };
    enum md_status status = md__cli_backend(md_config_string(config, "isa"), &options.backend, err);

    if (status == MD_OK) {
        status = choose_device(daemon, &options, err);
    }
    if (status == MD_OK) {
        status = md_serve_new(&options, &daemon->serve, err);
    }
    if (status == MD_OK) {
        status = md_script_builder_new(md__cli_lib_dir(), md_clock_system(), &daemon->builder, err);
    }
    if (status == MD_OK) {
        md_serve_set_builder(daemon->serve, &daemon->builder);
    }
    return status;
}

static enum md_status load_script(struct daemon *daemon, struct md_error *err)
{
    struct md_script_options options = {
        .dir = daemon->settings.dir,
        .lib_dir = md__cli_lib_dir(),
        .clock = daemon->clock,
        .config = daemon->settings.config,
        .serve = daemon->serve,
        .store = daemon->store,
        .threads = md__cli_threads((int)md_config_int(daemon->settings.config, "threads")),
    };

    return md_script_new(&options, &daemon->script, err);
}

/* "" means that there is none. */
static const char *file_or_null(const struct md_config *config, const char *key)
{
    const char *path = md_config_string(config, key);

    return path[0] != '\0' ? path : NULL;
}

static enum md_status start_http(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    struct md_http_options options = {
        .clock = daemon->clock,
        .script = daemon->script,
        .store = daemon->store,
        .serve = daemon->serve,
        .address = daemon->address,
        .insecure = md_config_bool(config, "insecure"),
        .tls_certificate = file_or_null(config, "tls_cert"),
        .tls_key = file_or_null(config, "tls_key"),
        .threads = (int)md_config_int(config, "http_threads"),
        .connections_max = (int)md_config_int(config, "connections_max"),
        .body_bytes_max = (size_t)md_config_int(config, "body_bytes_max"),
        .bytes_max = (size_t)md_config_int(config, "http_bytes_max"),
        .response_bytes_max = (size_t)md_config_int(config, "response_bytes_max"),
        .request_ms_max = (int)md_config_int(config, "request_timeout_ms"),
        .cors_origins = md_config_string(config, "cors_origins"),
        .rate_limit_loopback = md_config_bool(config, "rate_limit_loopback"),
    };
    enum md_status status =
        md__settings_listen(config, daemon->address, sizeof daemon->address, &options.port, err);

    if (status == MD_OK) {
        status = md__settings_key(&daemon->settings, daemon->secret, sizeof daemon->secret,
                                  &options, err);
    }
    return status == MD_OK ? md_http_new(&options, &daemon->http, err) : status;
}

/*
 * A state folder whose path is too long for a socket must not keep a service from starting that
 * nobody told to have one.
 */
static enum md_status start_control(struct daemon *daemon, struct md_error *err)
{
    const struct md_config *config = daemon->settings.config;
    const char *path = md_config_string(config, "control"), *state;
    struct md_control_context context = {
        .script = daemon->script,
        .serve = daemon->serve,
        .http = daemon->http,
        .config = daemon->settings.config,
        .clock = daemon->clock,
        .standing = daemon->clock == &daemon->standing.base ? &daemon->standing : NULL,
        .started_ns = daemon->started_ns,
    };
    char in_state[PATH_MAX];
    struct md_error cause;
    enum md_status status;

    if (path[0] != '\0') {
        return md__control_new(path, &context, &daemon->control, err);
    }
    state = md_config_string(config, "state");
    if (state[0] == '\0') {
        return MD_OK;
    }
    snprintf(in_state, sizeof in_state, "%s/" MD__CONTROL_NAME, state);
    status = md__control_new(in_state, &context, &daemon->control, &cause);
    if (status != MD_OK) {
        md_log(MD_LOG_WARN, "serve", "%s", cause.text);
    }
    return MD_OK;
}

/* A reload may wait for requests to end: not on the thread that waits for the signals to end. */
static void *reload_on_signal(void *context)
{
    struct daemon *daemon = context;
    sigset_t hangup;
    int number;

    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    while (sigwait(&hangup, &number) == 0 && !daemon->ending) {
        md_script_reload(daemon->script, "signal", NULL, NULL); /* tells its result itself */
    }
    return NULL;
}

static enum md_status start(struct daemon *daemon, struct md_error *err)
{
    enum md_status status = choose_clock(daemon, err);

    if (status == MD_OK) {
        status = start_log(daemon, err);
    }

    if (status == MD_OK) {
        status = open_store(daemon, err);
    }
    if (status == MD_OK) {
        status = start_executor(daemon, err);
    }
    if (status == MD_OK) {
        status = load_script(daemon, err);
    }
    if (status == MD_OK) {
        status = start_http(daemon, err);
    }
    if (status == MD_OK) {
        status = start_control(daemon, err);
    }
    if (status == MD_OK) {
        daemon->reloads = pthread_create(&daemon->reloader, NULL, reload_on_signal, daemon) == 0;
        status = daemon->reloads ? MD_OK : md_fail(err, MD_ERR_MEMORY, "cannot start a thread");
    }
    if (status == MD_OK && md_config_bool(daemon->settings.config, "watch")) {
        status = md_script_watch(daemon->script, err);
    }
    if (status == MD_OK) {
        status = md_script_start(daemon->script, err);
    }
    return status;
}

/* ---- ending ---- */

static void stop(struct daemon *daemon)
{
    if (daemon->http != NULL) {
        int drain_ms = (int)md_config_int(daemon->settings.config, "drain_ms_max");
        if (!md_http_drain(daemon->http, drain_ms)) {
            md_log(MD_LOG_WARN, "serve", "requests were still running after %d ms", drain_ms);
        }
    }
    md__control_delete(daemon->control);
    if (daemon->script != NULL) {
        md_script_stop(daemon->script);
    }
    if (daemon->reloads) {
        daemon->ending = true;
        pthread_kill(daemon->reloader, SIGHUP);
        pthread_join(daemon->reloader, NULL);
    }
    md_http_delete(daemon->http);
    if (daemon->script != NULL) {
        md_script_delete(daemon->script);
    }
    md_serve_delete(daemon->serve);
    md_accelerator_delete(daemon->device.accelerator);
    md_script_builder_delete(&daemon->builder);
    if (daemon->store != NULL) {
        md_store_close(daemon->store);
    }
    md_config_unref(daemon->settings.config);
}

static void *end_at_once(void *signals)
{
    int number;

    sigwait(signals, &number);
    _exit(128 + number);
}

static void wait_for_signal(sigset_t *signals)
{
    pthread_t impatient;
    int number;

    sigwait(signals, &number);
    md_log(MD_LOG_INFO, "serve", "%s: draining", strsignal(number));
    if (pthread_create(&impatient, NULL, end_at_once, signals) == 0) {
        pthread_detach(impatient);
    }
}

/*
 * Arenas of malloc. Its default is eight a core, one after the other as threads come: what a
 * request on one thread has freed is then of no use to the next thread, and a fleet forecast again
 * and again grows resident memory from 80 MB to over 200. Two keep it flat.
 */
enum { MALLOC_ARENAS = 2 };

/*
 * Blocks of megabytes come from these arenas too, and what is free at their ends stays: to get the
 * pages of a forecast from the kernel each time costs more than to keep so many. Larger blocks are
 * mapped by themselves and go at once.
 */
enum { MALLOC_BLOCK_MAX = 8 << 20, MALLOC_KEPT_MAX = 16 << 20 };

int md__cli_serve(int argc, char **argv)
{
    static sigset_t signals; /* outlives main's frame: a thread may wait on it while we exit */
    struct daemon daemon = {.started_ns = md_monotonic_ns(md_clock_system())};
    struct md_error err = {0};
    enum md_status status = md__settings_load(argc, argv, USAGE, &daemon.settings, &err);

    if (status != MD_OK) {
        return md__cli_fail(&err);
    }
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    mallopt(M_MMAP_THRESHOLD, MALLOC_BLOCK_MAX);
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEPT_MAX);
    /* Blocked before any thread starts, so that only sigwait takes them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    sigdelset(&signals, SIGHUP);
    status = start(&daemon, &err);
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "serve", "%s: %s://%s:%d", daemon.settings.dir,
               file_or_null(daemon.settings.config, "tls_cert") != NULL ? "https" : "http",
               daemon.address, md_http_port(daemon.http));
        wait_for_signal(&signals);
    }
    stop(&daemon);
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
