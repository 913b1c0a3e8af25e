/*
 * Series tables and the store: restoring at start, saving what changed in the background.
 */
#ifndef MD_SERIES_PERSIST_H
#define MD_SERIES_PERSIST_H

#include "series/series.h"
#include "store/store.h"

/* Fills the table with the stored steps that are still inside its window at `now_ms`. Call it once,
 * before md_series_save, also when the store is new. */
enum md_status md_series_restore(struct md_series *series, struct md_store *store, int64_t now_ms,
                                 struct md_error *err);

/* Saves all steps that changed since the last call, in one transaction. On failure they stay marked
 * as changed. */
enum md_status md_series_save(struct md_series *series, struct md_store *store,
                              struct md_error *err);

/* A thread that saves the tables every interval_ms, evicts vanished entities and trims the store.
 * Tables must outlive it. */
struct md_saver;
enum md_status md_saver_new(struct md_store *store, struct md_series *const *tables,
                            int table_count, int interval_ms, struct md_saver **saver,
                            struct md_error *err);
/* Stops the thread after a last save. */
void md_saver_delete(struct md_saver *saver);

#endif
