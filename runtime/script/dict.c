/* See dict.h. Entries hang in a hash chain and in their shard's list, most lately used first. */
#include "script/dict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wait.h"

enum { SHARDS = 16, BUCKETS = 512 };

struct entry {
    struct entry *chain;
    struct entry *newer, *older;
    struct md__value *value;
    uint64_t hash;
    int64_t expires_ms; /* 0: never */
    size_t bytes;
    struct md__key_text key;
    char version[MD__VERSION_MAX];
};

struct shard {
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
};

struct md__flight {
    struct md__flight *next;
    struct md__dicts *dicts;
    int refs; /* under the flights' lock, as is all that follows */
    bool ended;
    enum md_status status;
    struct md_error why;
    struct md__value *value;
    struct md__key_text key;
    char version[MD__VERSION_MAX];
};

struct md__dicts {
    struct md_clock *clock;
    size_t bytes_max;
    _Atomic size_t bytes;
    struct shard shards[SHARDS];
    pthread_mutex_t flights_lock;
    pthread_cond_t flights_ended;
    struct md__flight *flights;
};

/* ---- keys and shards ------------------------------------------------------------------------- */

bool md__dict_key(struct md__key_text *key, const char *space, const char *name, size_t length)
{
    size_t space_length = strlen(space);
    if (space_length + 1 + length >= sizeof key->text || memchr(name, '\0', length) != NULL)
        return false;
    memcpy(key->text, space, space_length + 1);
    memcpy(key->text + space_length + 1, name, length);
    key->length = space_length + 1 + length;
    key->text[key->length] = '\0';
    key->space_length = space_length;
    return true;
}

/* FNV-1a. */
static uint64_t hash_of(const struct md__key_text *key)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key->length; i++)
        hash = (hash ^ (unsigned char)key->text[i]) * 1099511628211u;
    return hash;
}

static struct shard *lock_shard(struct md__dicts *dicts, uint64_t hash)
{
    struct shard *shard = &dicts->shards[hash % SHARDS];
    pthread_mutex_lock(&shard->lock);
    return shard;
}

static struct entry **bucket(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[hash / SHARDS % BUCKETS];
}

static void list_remove(struct shard *shard, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &shard->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void list_push(struct shard *shard, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = entry;
    shard->newest = entry;
}

static void remove_entry(struct md__dicts *dicts, struct shard *shard, struct entry *entry)
{
    struct entry **at = bucket(shard, entry->hash);
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    list_remove(shard, entry);
    atomic_fetch_sub(&dicts->bytes, entry->bytes);
    md__value_unref(entry->value);
    free(entry);
}

/* The live entry, which becomes the most lately used one. */
static struct entry *find(struct md__dicts *dicts, struct shard *shard,
                          const struct md__key_text *key, uint64_t hash)
{
    for (struct entry *entry = *bucket(shard, hash); entry != NULL; entry = entry->chain) {
        if (entry->hash != hash || entry->key.length != key->length ||
            memcmp(entry->key.text, key->text, key->length) != 0)
            continue;
        if (entry->expires_ms != 0 && entry->expires_ms <= md_now_ms(dicts->clock)) {
            remove_entry(dicts, shard, entry);
            return NULL;
        }
        list_remove(shard, entry);
        list_push(shard, entry);
        return entry;
    }
    return NULL;
}

static struct entry *insert(struct shard *shard, const struct md__key_text *key, uint64_t hash)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->hash = hash;
    entry->key = *key;
    entry->chain = *bucket(shard, hash);
    *bucket(shard, hash) = entry;
    list_push(shard, entry);
    return entry;
}

static void put(struct md__dicts *dicts, struct entry *entry, struct md__value *value)
{
    size_t bytes = sizeof *entry + md__value_bytes(value);
    atomic_fetch_add(&dicts->bytes, bytes);
    atomic_fetch_sub(&dicts->bytes, entry->bytes);
    struct md__value *old = entry->value;
    entry->value = md__value_ref(value);
    entry->bytes = bytes;
    md__value_unref(old);
}

/* Drops the oldest entries of one shard after the other until all fits again, but not the one that
 * was just put into the first. */
static void evict(struct md__dicts *dicts, uint64_t hash)
{
    for (int i = 0; i < SHARDS && atomic_load(&dicts->bytes) > dicts->bytes_max; i++) {
        struct shard *shard = lock_shard(dicts, hash + (uint64_t)i);
        while (shard->oldest != NULL && (i > 0 || shard->oldest != shard->newest) &&
               atomic_load(&dicts->bytes) > dicts->bytes_max)
            remove_entry(dicts, shard, shard->oldest);
        pthread_mutex_unlock(&shard->lock);
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

enum md_status md__dicts_new(size_t bytes_max, struct md_clock *clock, struct md__dicts **result,
                             struct md_error *err)
{
    struct md__dicts *dicts = calloc(1, sizeof *dicts);
    if (dicts == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for md.dict");
    dicts->clock = clock;
    dicts->bytes_max = bytes_max;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&dicts->shards[i].lock, NULL);
    pthread_mutex_init(&dicts->flights_lock, NULL);
    md_cond_init(&dicts->flights_ended);
    *result = dicts;
    return MD_OK;
}

void md__dicts_delete(struct md__dicts *dicts)
{
    if (dicts == NULL)
        return;
    for (int i = 0; i < SHARDS; i++) {
        while (dicts->shards[i].oldest != NULL)
            remove_entry(dicts, &dicts->shards[i], dicts->shards[i].oldest);
        pthread_mutex_destroy(&dicts->shards[i].lock);
    }
    pthread_cond_destroy(&dicts->flights_ended);
    pthread_mutex_destroy(&dicts->flights_lock);
    free(dicts);
}

struct md__value *md__dict_get(struct md__dicts *dicts, const struct md__key_text *key,
                               const char *version)
{
    uint64_t hash = hash_of(key);
    struct md__value *value = NULL;
    struct shard *shard = lock_shard(dicts, hash);
    struct entry *entry = find(dicts, shard, key, hash);
    if (entry != NULL && (version == NULL || strcmp(entry->version, version) == 0))
        value = md__value_ref(entry->value);
    pthread_mutex_unlock(&shard->lock);
    return value;
}

size_t md__dicts_bytes_max(const struct md__dicts *dicts)
{
    return dicts->bytes_max;
}

static enum md_status check_size(const struct md__dicts *dicts, const struct md__value *value,
                                 struct md_error *err)
{
    if (md__value_bytes(value) + sizeof(struct entry) <= dicts->bytes_max)
        return MD_OK;
    return md_fail(err, MD_ERR_TOO_LARGE, "the value has %zu bytes; dict_bytes_max is %zu",
                   md__value_bytes(value), dicts->bytes_max);
}

enum md_status md__dict_set(struct md__dicts *dicts, const struct md__key_text *key,
                            struct md__value *value, const char *version, int64_t ttl_ms,
                            struct md_error *err)
{
    uint64_t hash = hash_of(key);
    enum md_status status = check_size(dicts, value, err);
    if (status != MD_OK)
        return status;
    struct shard *shard = lock_shard(dicts, hash);
    struct entry *entry = find(dicts, shard, key, hash);
    if (entry == NULL)
        entry = insert(shard, key, hash);
    if (entry != NULL) {
        put(dicts, entry, value);
        entry->expires_ms = ttl_ms > 0 ? md_now_ms(dicts->clock) + ttl_ms : 0;
        snprintf(entry->version, sizeof entry->version, "%s", version != NULL ? version : "");
    }
    pthread_mutex_unlock(&shard->lock);
    evict(dicts, hash);
    return entry != NULL ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for md.dict");
}

enum md_status md__dict_add(struct md__dicts *dicts, const struct md__key_text *key,
                            struct md__value *value, bool *added, struct md_error *err)
{
    uint64_t hash = hash_of(key);
    enum md_status status = check_size(dicts, value, err);
    if (status != MD_OK)
        return status;
    struct shard *shard = lock_shard(dicts, hash);
    struct entry *entry = find(dicts, shard, key, hash);
    *added = entry == NULL;
    if (*added) {
        entry = insert(shard, key, hash);
        if (entry != NULL)
            put(dicts, entry, value);
    }
    pthread_mutex_unlock(&shard->lock);
    evict(dicts, hash);
    return entry != NULL ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for md.dict");
}

enum md_status md__dict_incr(struct md__dicts *dicts, const struct md__key_text *key, double by,
                             double *result, struct md_error *err)
{
    uint64_t hash = hash_of(key);
    enum md_status status = MD_OK;
    double number = 0;
    struct shard *shard = lock_shard(dicts, hash);
    struct entry *entry = find(dicts, shard, key, hash);
    if (entry != NULL && !md__value_is_number(entry->value, &number))
        status = md_fail(err, MD_ERR_INVALID, "the value is not a number");
    struct md__value *value = status == MD_OK ? md__value_number(number + by) : NULL;
    if (entry == NULL && value != NULL)
        entry = insert(shard, key, hash);
    if (entry != NULL && value != NULL)
        put(dicts, entry, value);
    else if (status == MD_OK)
        status = md_fail(err, MD_ERR_MEMORY, "no memory for md.dict");
    pthread_mutex_unlock(&shard->lock);
    evict(dicts, hash);
    md__value_unref(value);
    *result = number + by;
    return status;
}

bool md__dict_delete(struct md__dicts *dicts, const struct md__key_text *key)
{
    uint64_t hash = hash_of(key);
    struct shard *shard = lock_shard(dicts, hash);
    struct entry *entry = find(dicts, shard, key, hash);
    if (entry != NULL)
        remove_entry(dicts, shard, entry);
    pthread_mutex_unlock(&shard->lock);
    return entry != NULL;
}

static bool is_of_space(struct md__dicts *dicts, const struct entry *entry, const char *space)
{
    if (entry->expires_ms != 0 && entry->expires_ms <= md_now_ms(dicts->clock))
        return false;
    return strcmp(entry->key.text, space) == 0; /* the NUL behind the space ends it */
}

void md__dict_visit(struct md__dicts *dicts, const char *space,
                    void (*visit)(void *context, const char *name, size_t length), void *context)
{
    for (uint64_t i = 0; i < SHARDS; i++) {
        struct shard *shard = lock_shard(dicts, i);
        for (struct entry *entry = shard->oldest; entry != NULL; entry = entry->newer) {
            size_t skip = entry->key.space_length + 1;
            if (is_of_space(dicts, entry, space))
                visit(context, entry->key.text + skip, entry->key.length - skip);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

/* ---- flights --------------------------------------------------------------------------------- */

static struct md__flight *find_flight(struct md__dicts *dicts, const struct md__key_text *key,
                                      const char *version)
{
    struct md__flight *flight = dicts->flights;
    while (flight != NULL && (flight->ended || flight->key.length != key->length ||
                              memcmp(flight->key.text, key->text, key->length) != 0 ||
                              strcmp(flight->version, version) != 0))
        flight = flight->next;
    return flight;
}

struct md__flight *md__flight_join(struct md__dicts *dicts, const struct md__key_text *key,
                                   const char *version, bool *runs)
{
    pthread_mutex_lock(&dicts->flights_lock);
    struct md__flight *flight = find_flight(dicts, key, version);
    *runs = flight == NULL;
    if (*runs && (flight = malloc(sizeof *flight)) != NULL) {
        *flight = (struct md__flight){.dicts = dicts};
        flight->key = *key;
        snprintf(flight->version, sizeof flight->version, "%s", version);
        flight->next = dicts->flights;
        dicts->flights = flight;
    }
    if (flight != NULL)
        flight->refs++;
    pthread_mutex_unlock(&dicts->flights_lock);
    return flight;
}

void md__flight_end(struct md__flight *flight, struct md__value *value, const struct md_error *why)
{
    struct md__dicts *dicts = flight->dicts;
    pthread_mutex_lock(&dicts->flights_lock);
    if (!flight->ended) {
        flight->ended = true;
        flight->value = value != NULL ? md__value_ref(value) : NULL;
        if (why != NULL)
            flight->why = *why;
        flight->status = why != NULL ? why->code : MD_OK;
        pthread_cond_broadcast(&dicts->flights_ended);
    }
    pthread_mutex_unlock(&dicts->flights_lock);
}

enum md_status md__flight_wait(struct md__flight *flight, int64_t timeout_ns,
                               struct md__value **value, struct md_error *err)
{
    struct md__dicts *dicts = flight->dicts;
    int64_t end_ns = md_monotonic_ns(dicts->clock) + timeout_ns;
    int64_t left = timeout_ns;
    pthread_mutex_lock(&dicts->flights_lock);
    while (!flight->ended && (timeout_ns < 0 || left > 0)) {
        if (!md_cond_wait_ns(&dicts->flights_ended, &dicts->flights_lock, left))
            break;
        left = timeout_ns < 0 ? timeout_ns : end_ns - md_monotonic_ns(dicts->clock);
    }
    bool ended = flight->ended;
    enum md_status status = flight->status;
    *value = ended && flight->value != NULL ? md__value_ref(flight->value) : NULL;
    pthread_mutex_unlock(&dicts->flights_lock);
    if (!ended)
        return md_fail(err, MD_ERR_TIMEOUT, "another request is still working on this value");
    return status == MD_OK ? MD_OK : md_fail(err, status, "%s", flight->why.text);
}

void md__flight_unref(struct md__flight *flight)
{
    struct md__dicts *dicts = flight->dicts;
    pthread_mutex_lock(&dicts->flights_lock);
    bool last = --flight->refs == 0;
    if (last) {
        struct md__flight **at = &dicts->flights;
        while (*at != flight)
            at = &(*at)->next;
        *at = flight->next;
    }
    pthread_mutex_unlock(&dicts->flights_lock);
    if (!last)
        return;
    md__value_unref(flight->value);
    free(flight);
}
