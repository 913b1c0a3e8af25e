/*
 * The places for connections. They live as long as the server, so an event that arrives after its
 * connection has gone meets a place with another count, never freed memory. Free places form a
 * list; the rest is found by walking the used part of the table, which only the rare needs it:
 * timeouts once a second, and making room when all places are taken.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "http/connection.h"

#define OWNED      ((uint64_t)1)
#define LOOK_AGAIN ((uint64_t)2)
#define USE_SHIFT  2

struct md__table {
    struct md__connection *places;
    int count;
    pthread_mutex_t lock; /* of the two below */
    struct md__connection *free;
    int reached; /* places from here on have never been used */
    _Atomic int used;
};

struct md__table *md__table_new(struct md_http *http, int count)
{
    struct md__table *table = calloc(1, sizeof *table);

    if (table == NULL || (table->places = calloc((size_t)count, sizeof *table->places)) == NULL) {
        free(table);
        return NULL;
    }
    table->count = count;
    pthread_mutex_init(&table->lock, NULL);
    for (int i = 0; i < count; i++) {
        table->places[i].http = http;
        table->places[i].index = (uint32_t)i;
        table->places[i].fd = -1;
    }
    return table;
}

void md__table_delete(struct md__table *table)
{
    if (table != NULL) {
        pthread_mutex_destroy(&table->lock);
        free(table->places);
        free(table);
    }
}

/* ---- owning -----------------------------------------------------------------------------------
 */

uint64_t md__table_token(const struct md__connection *connection)
{
    return (connection->state >> USE_SHIFT) << 32 | connection->index;
}

struct md__connection *md__table_own(struct md__table *table, uint64_t token)
{
    struct md__connection *connection = &table->places[(uint32_t)token];
    uint64_t state = connection->state;

    for (;;) {
        uint64_t wanted = state | ((state & OWNED) != 0 ? LOOK_AGAIN : OWNED);
        if ((uint32_t)(state >> USE_SHIFT) != (uint32_t)(token >> 32)) {
            return NULL;
        }
        if (atomic_compare_exchange_weak(&connection->state, &state, wanted)) {
            return (state & OWNED) != 0 ? NULL : connection;
        }
    }
}

bool md__table_release(struct md__connection *connection)
{
    uint64_t state = connection->state;

    if ((state & LOOK_AGAIN) == 0 &&
        atomic_compare_exchange_strong(&connection->state, &state, state & ~OWNED)) {
        return true;
    }
    atomic_fetch_and(&connection->state, ~LOOK_AGAIN);
    return false;
}

/* ---- taking and giving ------------------------------------------------------------------------
 */

static int reached(struct md__table *table)
{
    int count;

    pthread_mutex_lock(&table->lock);
    count = table->reached;
    pthread_mutex_unlock(&table->lock);
    return count;
}

/* Owned, when it is in use and nobody owns it; else NULL. */
static struct md__connection *try_own(struct md__table *table, int index)
{
    struct md__connection *place = &table->places[index];
    uint64_t state = place->state;

    return (state & OWNED) == 0 && place->fd >= 0 &&
                   atomic_compare_exchange_strong(&place->state, &state, state | OWNED)
               ? place
               : NULL;
}

/*
 * Closes the idle connection whose time ends first: it has been idle for longest. Somebody else may
 * have taken or closed it meanwhile; then there is reason to look again. False: none is idle.
 */
static bool make_room(struct md__table *table, struct md__worker *worker)
{
    int count = reached(table), oldest = -1;
    struct md__connection *connection;

    for (int i = 0; i < count; i++) {
        const struct md__connection *place = &table->places[i];
        if (place->idle && (place->state & OWNED) == 0 &&
            (oldest < 0 || place->deadline_ns < table->places[oldest].deadline_ns)) {
            oldest = i;
        }
    }
    if (oldest < 0) {
        return false;
    }
    connection = try_own(table, oldest);
    if (connection != NULL && connection->idle) {
        md_metric_add(connection->http->cut_idle, 1);
        md__connection_close(worker, connection);
    } else if (connection != NULL) {
        md__connection_return(connection);
    }
    return true;
}

/* Once half of all places are taken, one address other than this machine's may have an eighth. */
static bool has_share(struct md__table *table, uint32_t address)
{
    int count = reached(table), same = 0;

    if (table->used < table->count / 2 || (ntohl(address) >> 24) == 127) {
        return true;
    }
    for (int i = 0; i < count; i++) {
        same += table->places[i].fd >= 0 && table->places[i].address == address;
    }
    return same < table->count / 8;
}

static struct md__connection *take(struct md__table *table)
{
    struct md__connection *place;

    pthread_mutex_lock(&table->lock);
    place = table->free;
    if (place != NULL) {
        table->free = place->next_free;
    } else if (table->reached < table->count) {
        place = &table->places[table->reached++];
    }
    pthread_mutex_unlock(&table->lock);
    return place;
}

struct md__connection *md__table_take(struct md__table *table, struct md__worker *worker,
                                      uint32_t address)
{
    struct md__connection *place;

    if (!has_share(table, address)) {
        return NULL;
    }
    do { /* another thread that accepts may be quicker to take the room made here */
        place = take(table);
    } while (place == NULL && make_room(table, worker));
    if (place != NULL) {
        place->state |= OWNED;
        place->address = address;
        table->used++;
    }
    return place;
}

void md__table_give(struct md__table *table, struct md__connection *connection)
{
    connection->state = ((connection->state >> USE_SHIFT) + 1) << USE_SHIFT;
    table->used--;
    pthread_mutex_lock(&table->lock);
    connection->next_free = table->free;
    table->free = connection;
    pthread_mutex_unlock(&table->lock);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

void md__table_expire(struct md__table *table, struct md__worker *worker, int64_t now_ns)
{
    int count = reached(table);

    for (int i = 0; i < count; i++) {
        int64_t until_ns = table->places[i].deadline_ns;
        struct md__connection *connection;
        if (until_ns == 0 || until_ns > now_ns || (connection = try_own(table, i)) == NULL) {
            continue;
        }
        until_ns = connection->deadline_ns; /* it may have moved before we owned it */
        if (until_ns != 0 && until_ns <= now_ns) {
            md__connection_expire(worker, connection);
        } else {
            md__connection_return(connection);
        }
    }
}

void md__table_close_all(struct md__table *table, struct md__worker *worker)
{
    for (int i = 0; i < table->reached; i++) {
        if (table->places[i].fd >= 0) {
            md__connection_close(worker, &table->places[i]);
        }
    }
}
