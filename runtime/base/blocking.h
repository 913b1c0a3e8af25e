/*
 * A thread that is about to wait for long tells whoever lends it its work, so that another thread
 * can go on with that. http/ lends its threads to handlers in this way; elsewhere it does nothing.
 */
#ifndef MD_BASE_BLOCKING_H
#define MD_BASE_BLOCKING_H

/* What the calling thread does when it says so; NULL: nothing. */
void md_blocking_set(void (*begin)(void *context), void *context);
/* The calling thread is about to wait for something other than a moment's lock. */
void md_blocking_begin(void);

#endif
