/*
 * Notifications between Lua and the notifier (alert/notifier.h):
 *
 *     notify_read.c    app.alerts.notify, read once a generation into settings
 *     bind_notify.c    the notifier's life with the script engine; md.alerts.silence and its kin
 */
#ifndef MD_SCRIPT_NOTIFY_H
#define MD_SCRIPT_NOTIFY_H

#include "alert/live.h"
#include "alert/notifier.h"
#include "script/internal.h"

struct md__notify_wanted {
    struct md_notify_config *config; /* NULL: nothing */
    int64_t degraded_after_ms;
};

/* What lives as long as the script engine. */
struct md__notifying {
    struct md_notifier *_Atomic notifier; /* made by the first generation that declares alerts */
    struct md_alert_live *live;           /* whose alerts it gets */
    struct md__notify_wanted declared;    /* by the generation that is being built */
    struct md__notify_wanted accepted;    /* not yet in force; under script->lock */
    int64_t degraded_after_ms;            /* the housekeeper's */
};

/* With app.alerts.notify on top of the stack: its settings, compiled; raises. */
struct md_notify_config *md__notify_read(lua_State *L, struct md_script *script);

/* Around a move of a clock that stands otherwise and the ticks that it makes due: the notifier, if
 * there is one, looks at the new time after them (md_notifier_hold). */
void md__notify_hold(struct md_script *script);
void md__notify_release(struct md_script *script);

/* With the entry of an alert (its fingerprint as text) on top of the stack: adds to its lists
 * silenced_by (ids) and inhibited_by (fingerprints), and sets maintenance, a window's name. */
void md__notify_explain(lua_State *L);

#endif
