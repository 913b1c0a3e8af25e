/*
 * Rate limits: a token bucket per client and route, which refills evenly and holds one minute's
 * worth.
 *
 * The table has a fixed size: a hash picks a set of eight buckets, and a newcomer takes the
 * bucket of its set that has rested longest. An attacker with many addresses can thus make the
 * limit forget others, but cannot make it grow.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

#define SETS 1024
#define WAYS 8

struct bucket {
    uint64_t key;
    int64_t last_ns; /* when tokens was true */
    double tokens;
};

struct md__ratelimit {
    pthread_mutex_t lock;
    struct bucket buckets[SETS][WAYS];
};

struct md__ratelimit *md__ratelimit_new(void)
{
    struct md__ratelimit *limits = calloc(1, sizeof *limits);

    if (limits != NULL) {
        pthread_mutex_init(&limits->lock, NULL);
    }
    return limits;
}

void md__ratelimit_delete(struct md__ratelimit *limits)
{
    if (limits != NULL) {
        pthread_mutex_destroy(&limits->lock);
        free(limits);
    }
}

/* FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/). */
static uint64_t hash(uint64_t seed, const char *text)
{
    for (; *text != '\0'; text++) {
        seed = (seed ^ (unsigned char)*text) * 1099511628211u;
    }
    return seed;
}

static struct bucket *find(struct md__ratelimit *limits, uint64_t key, int per_min, int64_t now_ns)
{
    struct bucket *set = limits->buckets[key % SETS], *oldest = set;

    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == key) {
            return &set[i];
        }
        oldest = set[i].last_ns < oldest->last_ns ? &set[i] : oldest;
    }
    *oldest = (struct bucket){.key = key, .last_ns = now_ns, .tokens = per_min};
    return oldest;
}

bool md__ratelimit_pass(struct md__ratelimit *limits, const char *client, const char *route,
                        int per_min, int64_t now_ns, int *retry_s)
{
    uint64_t key = hash(hash(14695981039346656037u, client) ^ '|', route) | 1;
    double per_ns = per_min / 60e9;
    struct bucket *bucket;
    bool pass;

    pthread_mutex_lock(&limits->lock);
    bucket = find(limits, key, per_min, now_ns);
    bucket->tokens = fmin(per_min, bucket->tokens + (double)(now_ns - bucket->last_ns) * per_ns);
    bucket->last_ns = now_ns;
    pass = bucket->tokens >= 1;
    if (pass) {
        bucket->tokens -= 1;
    } else {
        *retry_s = (int)ceil((1 - bucket->tokens) / per_ns / 1e9);
    }
    pthread_mutex_unlock(&limits->lock);
    return pass;
}
