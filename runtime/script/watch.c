/*
 * The watcher's thread: waits for inotify, lets changes come to rest, takes them up; see watch.h.
 *
 * Every event that is not an editor's noise makes something *dirty*: scripts, or (anything but a
 * Lua file) scripts and models. Watches are renewed by walking the tree again, which is also what
 * the slow scan does: a folder that appears, disappears or is replaced through a link needs no
 * bookkeeping beyond that.
 */
#include "script/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "script/generation.h"
#include "serve/serve.h"

enum {
    FOLDERS_MAX = 1000,
    MODELS_MAX = 2 * MD_SERVE_MODELS_MAX,
    REST_MS_MAX = 500,   /* changes that never rest are taken up all the same */
    RETRY_MS = 250,      /* when requests from before the last change still run */
    MODEL_REST_MS = 200, /* a model's files are large, and several */
    SCAN_MS = 5000,
    SCAN_MS_ALONE = 500, /* without inotify */
    PATH_BYTES = 4096
};

static const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                               IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

struct folder {
    int wd;
    char *path;
    bool seen; /* by the walk in progress */
};

/* A model whose files are watched; `taken` is what its files were when they were last loaded. */
struct model {
    char name[MD_SERVE_NAME_MAX];
    char path[PATH_BYTES];
    uint64_t taken, seen;
};

struct md__watcher {
    struct md_script *script;
    pthread_t thread;
    bool running;
    int inotify, stop;     /* file descriptors; inotify -1: scanning only */
    _Atomic bool complete; /* every folder has its watch */
    struct folder folders[FOLDERS_MAX];
    int folder_count;
    int parent_wd; /* of the folder that holds the scripts folder: that one may be replaced */
    const char *base_name;
    struct model *models;
    int model_count;
    uint64_t tree; /* fingerprint of all when last taken up */
    bool scripts_dirty, models_dirty;
    int64_t dirty_ns;  /* since when scripts are */
    int64_t looked_ns; /* at models, last */
};

/* ---- watches --------------------------------------------------------------------------------- */

static void see_folder(void *context, const char *path)
{
    struct md__watcher *watcher = context;
    if (watcher->inotify < 0)
        return;
    int wd = inotify_add_watch(watcher->inotify, path, events);
    if (wd < 0)
        watcher->complete = watcher->complete && errno != ENOSPC && errno != ENOMEM;
    for (int i = 0; i < watcher->folder_count && wd >= 0; i++) {
        if (watcher->folders[i].wd == wd) { /* the same folder again, perhaps by another path */
            watcher->folders[i].seen = true;
            return;
        }
    }
    char *copy = wd >= 0 && watcher->folder_count < FOLDERS_MAX ? strdup(path) : NULL;
    if (copy != NULL)
        watcher->folders[watcher->folder_count++] = (struct folder){wd, copy, true};
    else if (wd >= 0)
        watcher->complete = false;
}

static void drop_unseen(struct md__watcher *watcher)
{
    int kept = 0;
    for (int i = 0; i < watcher->folder_count; i++) {
        struct folder *folder = &watcher->folders[i];
        if (folder->seen) {
            watcher->folders[kept++] = *folder;
            continue;
        }
        inotify_rm_watch(watcher->inotify, folder->wd);
        free(folder->path);
    }
    watcher->folder_count = kept;
}

/* Walks the tree: renews the watches, returns its fingerprint. */
static uint64_t walk(struct md__watcher *watcher)
{
    bool was_complete = watcher->complete;
    for (int i = 0; i < watcher->folder_count; i++)
        watcher->folders[i].seen = false;
    watcher->complete = watcher->inotify >= 0;
    uint64_t tree = md__watch_scan(watcher->script->dir, see_folder, watcher);
    drop_unseen(watcher);
    if (was_complete && !watcher->complete)
        md_log(MD_LOG_WARN, "script",
               "not every folder can be watched (fs.inotify.max_user_watches?): looking twice a "
               "second instead");
    return tree;
}

static void watch_parent(struct md__watcher *watcher)
{
    char path[PATH_BYTES];
    const char *dir = watcher->script->dir;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    size_t base = length;
    while (base > 0 && dir[base - 1] != '/')
        base--;
    snprintf(path, sizeof path, "%.*s", base > 0 ? (int)base : 1, base > 0 ? dir : ".");
    watcher->base_name = dir + base;
    if (watcher->inotify >= 0)
        watcher->parent_wd = inotify_add_watch(watcher->inotify, path, IN_MOVED_TO | IN_CREATE);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void make_dirty(struct md__watcher *watcher, bool models)
{
    int64_t now_ns = md_monotonic_ns(watcher->script->clock);
    if (!watcher->scripts_dirty)
        watcher->dirty_ns = now_ns;
    if (models && !watcher->models_dirty)
        watcher->looked_ns = now_ns;
    watcher->scripts_dirty = true;
    watcher->models_dirty |= models;
}

/* A file that was just made and is still being written: its end will be told. */
static bool is_being_written(const struct md__watcher *watcher, const struct inotify_event *event)
{
    char path[PATH_BYTES];
    struct stat status;
    for (int i = 0; i < watcher->folder_count; i++) {
        if (watcher->folders[i].wd != event->wd)
            continue;
        snprintf(path, sizeof path, "%s/%s", watcher->folders[i].path, event->name);
        return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1;
    }
    return false;
}

static void take_event(struct md__watcher *watcher, const struct inotify_event *event)
{
    const char *name = event->len > 0 ? event->name : "";
    bool is_folder = (event->mask & IN_ISDIR) != 0;
    if (event->wd == watcher->parent_wd) {
        size_t length = strcspn(watcher->base_name, "/");
        if (strlen(name) == length && strncmp(name, watcher->base_name, length) == 0)
            make_dirty(watcher, true);
        return;
    }
    if (event->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF)) {
        make_dirty(watcher, true);
        return;
    }
    enum md__watch_kind kind = md__watch_kind(name, is_folder);
    if (kind == MD__WATCH_NOTHING ||
        (!is_folder && (event->mask & IN_CREATE) && is_being_written(watcher, event)))
        return;
    make_dirty(watcher, kind == MD__WATCH_OTHER);
}

static void take_events(struct md__watcher *watcher)
{
    char buffer[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t got;
    while ((got = read(watcher->inotify, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const void *)(buffer + at);
            take_event(watcher, event);
            at += (ssize_t)sizeof *event + event->len;
        }
    }
}

/* ---- models ---------------------------------------------------------------------------------- */

static struct model *find_model(struct md__watcher *watcher, const char *name, const char *path)
{
    for (int i = 0; i < watcher->model_count; i++) {
        struct model *model = &watcher->models[i];
        if (strcmp(model->name, name) == 0 && strcmp(model->path, path) == 0)
            return model;
    }
    if (watcher->model_count == MODELS_MAX)
        return NULL;
    struct model *model = &watcher->models[watcher->model_count++];
    snprintf(model->name, sizeof model->name, "%s", name);
    snprintf(model->path, sizeof model->path, "%s", path);
    model->taken = model->seen = md__watch_scan(path, NULL, NULL);
    return model;
}

/*
 * Loads the model when its files have changed and rest. False: they still move. Files that are gone
 * are a change like any other: loading fails, and /health says what a restart would find.
 */
static bool check_model(struct md__watcher *watcher, const char *name, const char *path)
{
    struct model *model = find_model(watcher, name, path);
    if (model == NULL)
        return true;
    uint64_t now = md__watch_scan(path, NULL, NULL);
    if (now == model->taken) {
        model->seen = now;
        return true;
    }
    if (now != model->seen) {
        model->seen = now;
        return false;
    }
    model->taken = now; /* also when it cannot be loaded: not again until it changes */
    const struct md__model_entry entry = {
        .name = name, .path = path, .profile = md__model_profile(watcher->script, name)};
    md__model_load(watcher->script, &entry, NULL);
    return true;
}

/* Models that are loaded, and those that are declared and could not be. */
static bool check_models(struct md__watcher *watcher)
{
    struct md_script *script = watcher->script;
    struct md_model *models[MD_SERVE_MODELS_MAX];
    bool rest = true;
    int count =
        script->serve != NULL ? md_serve_models(script->serve, models, MD_SERVE_MODELS_MAX) : 0;
    for (int i = 0; i < count; i++) {
        rest &= check_model(watcher, md_model_name(models[i]), md_model_path(models[i]));
        md_model_unref(models[i]);
    }
    struct md_generation *generation = md__generation_current(script);
    for (int i = 0; script->serve != NULL && i < generation->model_count; i++) {
        struct md_model *loaded = NULL;
        const struct md__model_entry *entry = &generation->models[i];
        if (md_serve_model(script->serve, entry->name, &loaded, NULL) == MD_OK)
            md_model_unref(loaded);
        else
            rest &= check_model(watcher, entry->name, entry->path);
    }
    md__generation_unref(generation);
    return rest;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* How long to wait for the next thing. */
static int patience_ms(const struct md__watcher *watcher)
{
    int rest_ms = (int)md_config_int(watcher->script->config, "watch_quiet_ms");
    if (watcher->scripts_dirty)
        return rest_ms;
    if (watcher->models_dirty)
        return MODEL_REST_MS;
    return watcher->complete ? SCAN_MS : SCAN_MS_ALONE;
}

static bool is_overdue(const struct md__watcher *watcher)
{
    int64_t now_ns = md_monotonic_ns(watcher->script->clock);
    return watcher->scripts_dirty && now_ns - watcher->dirty_ns > REST_MS_MAX * 1000000LL;
}

/* Models are looked at in peace: not more often than their files take to be written, and not less
 * because scripts change all the time. */
static void take_up_models(struct md__watcher *watcher)
{
    int64_t now_ns = md_monotonic_ns(watcher->script->clock);
    if (!watcher->models_dirty || now_ns - watcher->looked_ns < MODEL_REST_MS * 900000LL)
        return;
    watcher->models_dirty = !check_models(watcher);
    watcher->looked_ns = md_monotonic_ns(watcher->script->clock);
}

/* Returns how long to wait before the next attempt; 0: none is needed. */
static int take_up(struct md__watcher *watcher)
{
    struct md_error err;
    if (watcher->scripts_dirty) {
        watcher->tree = walk(watcher); /* the slow scan has nothing to find in it any more */
        enum md_status status = md_script_reload(watcher->script, "watch", NULL, &err);
        if (status == MD_ERR_UNAVAILABLE)
            return RETRY_MS;
        watcher->scripts_dirty = false;
    }
    take_up_models(watcher);
    return 0;
}

static void look_around(struct md__watcher *watcher)
{
    uint64_t tree = walk(watcher);
    if (tree != watcher->tree)
        make_dirty(watcher, true);
    watcher->tree = tree;
}

static void *run(void *context)
{
    struct md__watcher *watcher = context;
    struct pollfd waits[] = {{watcher->stop, POLLIN, 0}, {watcher->inotify, POLLIN, 0}};
    int count = watcher->inotify >= 0 ? 2 : 1, retry_ms = 0;
    for (;;) {
        int ready = poll(waits, (nfds_t)count, retry_ms > 0 ? retry_ms : patience_ms(watcher));
        if (waits[0].revents != 0)
            return NULL;
        if (ready > 0) {
            take_events(watcher);
            if (!is_overdue(watcher))
                continue;
        }
        retry_ms = 0;
        if (watcher->scripts_dirty || watcher->models_dirty)
            retry_ms = take_up(watcher);
        else
            look_around(watcher);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void watcher_free(struct md__watcher *watcher)
{
    for (int i = 0; i < watcher->folder_count; i++)
        free(watcher->folders[i].path);
    if (watcher->inotify >= 0)
        close(watcher->inotify);
    if (watcher->stop >= 0)
        close(watcher->stop);
    free(watcher->models);
    free(watcher);
}

enum md_status md_script_watch(struct md_script *script, struct md_error *err)
{
    struct md__watcher *watcher = calloc(1, sizeof *watcher);
    if (watcher == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory to watch the scripts folder");
    watcher->script = script;
    watcher->models = calloc(MODELS_MAX, sizeof *watcher->models);
    watcher->stop = eventfd(0, EFD_CLOEXEC);
    watcher->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    watcher->parent_wd = -1;
    watcher->complete = true;
    if (watcher->models == NULL || watcher->stop < 0) {
        watcher_free(watcher);
        return md_fail(err, MD_ERR_MEMORY, "no means to watch the scripts folder");
    }
    watch_parent(watcher);
    watcher->tree = walk(watcher);
    check_models(watcher); /* notes what their files are now */
    if (pthread_create(&watcher->thread, NULL, run, watcher) != 0) {
        watcher_free(watcher);
        return md_fail(err, MD_ERR_MEMORY, "cannot start the watcher's thread");
    }
    watcher->running = true;
    script->watcher = watcher;
    return MD_OK;
}

const char *md__watcher_mode(const struct md__watcher *watcher)
{
    if (watcher == NULL)
        return "off";
    return watcher->complete ? "inotify" : "scan";
}

void md__watcher_stop(struct md__watcher *watcher)
{
    uint64_t one = 1;
    if (watcher == NULL || !watcher->running)
        return;
    while (write(watcher->stop, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(watcher->thread, NULL);
    watcher->running = false;
}

void md__watcher_delete(struct md__watcher *watcher)
{
    md__watcher_stop(watcher);
    if (watcher != NULL)
        watcher_free(watcher);
}
