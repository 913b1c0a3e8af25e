/*
 * The shared dictionary behind md.dict: named spaces of keys, in 16 shards under locks of their
 * own, within one byte cap. What was used least lately goes first when the cap is reached. Values
 * are immutable (value.h), so locks are held for pointers only.
 *
 * A *flight* is one computation of a value under a version: the first who asks for it runs it, the
 * others wait. A flight that ends without a result (its request was abandoned) lets the next try.
 */
#ifndef MD_SCRIPT_DICT_H
#define MD_SCRIPT_DICT_H

#include "script/value.h"

#define MD__DICT_KEY_MAX 256 /* bytes of space and key together */
#define MD__VERSION_MAX  256 /* with the NUL */

struct md__key_text {
    char text[MD__DICT_KEY_MAX]; /* space, NUL, key */
    size_t length, space_length;
};
/* False: too long, or a NUL inside. */
bool md__dict_key(struct md__key_text *key, const char *space, const char *name, size_t length);

enum md_status md__dicts_new(size_t bytes_max, struct md_clock *clock, struct md__dicts **dicts,
                             struct md_error *err);
size_t md__dicts_bytes_max(const struct md__dicts *dicts);
void md__dicts_delete(struct md__dicts *dicts);

/* A reference, or NULL. version: when not NULL, only a value stored under an equal one. */
struct md__value *md__dict_get(struct md__dicts *dicts, const struct md__key_text *key,
                               const char *version);
/* Takes a reference of its own. ttl_ms 0: until evicted. MD_ERR_TOO_LARGE: over the cap alone. */
enum md_status md__dict_set(struct md__dicts *dicts, const struct md__key_text *key,
                            struct md__value *value, const char *version, int64_t ttl_ms,
                            struct md_error *err);
/* The same only when the key is absent; *added tells. */
enum md_status md__dict_add(struct md__dicts *dicts, const struct md__key_text *key,
                            struct md__value *value, bool *added, struct md_error *err);
/* Adds to a number (absent: 0). MD_ERR_INVALID: the value is no number. */
enum md_status md__dict_incr(struct md__dicts *dicts, const struct md__key_text *key, double by,
                             double *result, struct md_error *err);
bool md__dict_delete(struct md__dicts *dicts, const struct md__key_text *key);
/* Calls visit for every key of a space, with the shard locked. */
void md__dict_visit(struct md__dicts *dicts, const char *space,
                    void (*visit)(void *context, const char *name, size_t length), void *context);

struct md__flight;
/* Joins the flight for key and version, or starts it (*runs). Always a reference. */
struct md__flight *md__flight_join(struct md__dicts *dicts, const struct md__key_text *key,
                                   const char *version, bool *runs);
/* Ends it: with a value, with an error, or (both NULL) abandoned. Keeps no references. */
void md__flight_end(struct md__flight *flight, struct md__value *value, const struct md_error *why);
/* MD_OK: *value (a reference), or NULL when it was abandoned. Its error, or MD_ERR_TIMEOUT. */
enum md_status md__flight_wait(struct md__flight *flight, int64_t timeout_ns,
                               struct md__value **value, struct md_error *err);
void md__flight_unref(struct md__flight *flight);

#endif
