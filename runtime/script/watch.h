/*
 * Watching the scripts folder: what changes on disk is taken up by itself. Scripts become a new
 * generation (md_script_reload with the reason "watch"), a model whose files have changed is loaded
 * anew.
 *
 * Changes are noticed through inotify, which is told of every folder below (links to folders are
 * followed), and by a slow scan of names, sizes and times, which sees what inotify cannot (remote
 * file systems, watches over the system's limit). A change is taken up when nothing more has
 * happened for a moment. Whether anything real has changed is decided by the texts themselves and,
 * for models, by a fingerprint; so a false alarm costs only a look.
 */
#ifndef MD_SCRIPT_WATCH_H
#define MD_SCRIPT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct md_script;
struct md__watcher;

/* What the name of something that was written, moved or deleted may mean. */
enum md__watch_kind {
    MD__WATCH_NOTHING, /* an editor's temporary file, a hidden one */
    MD__WATCH_SCRIPT,
    MD__WATCH_OTHER /* perhaps part of a model */
};
enum md__watch_kind md__watch_kind(const char *name, bool is_folder);

/*
 * A fingerprint of everything below a folder that is not MD__WATCH_NOTHING: names, sizes, times and
 * places of files; calls on_folder (may be NULL) for each folder, the first one included. Links are
 * followed, at most eight folders deep. A file instead of a folder is taken alone; 0: nothing
 * there.
 */
uint64_t md__watch_scan(const char *path, void (*on_folder)(void *context, const char *path),
                        void *context);

/* How changes are noticed: "inotify", "scan"; "off" for NULL. */
const char *md__watcher_mode(const struct md__watcher *watcher);
void md__watcher_stop(struct md__watcher *watcher); /* ends its thread; NULL is fine */
void md__watcher_delete(struct md__watcher *watcher);

#endif
