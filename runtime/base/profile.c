/*
 * See profile.h. The reader of the stage stacks takes no lock that their threads take while they
 * work: a name that it sees is a constant string, and a stack that changes meanwhile is counted as
 * it was just before or after. Counts are bounded: when there are too many different stacks, the
 * rest is counted as one.
 */
#include "base/profile.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/flame.h"
#include "base/wait.h"

enum { STACKS_MAX = 4096, TEXT_MAX = 2048, INTERVAL_MS = 5 };

static const int64_t interval_ns = INTERVAL_MS * INT64_C(1000000);

static struct {
    pthread_mutex_t lock;
    bool running;
    struct md_flame_stack *stacks; /* a hash table of STACKS_MAX places; text NULL: free */
    int count;
    uint64_t lost; /* samples of stacks that found no place */
} profile = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- counting -------------------------------------------------------------------------------- */

static size_t hash(const char *text)
{
    uint64_t value = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text != '\0'; text++)
        value = (value ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return (size_t)value;
}

/* With the lock held. */
static void count(const char *text)
{
    size_t at = hash(text) % STACKS_MAX;
    while (profile.stacks[at].text != NULL && strcmp(profile.stacks[at].text, text) != 0)
        at = (at + 1) % STACKS_MAX;
    struct md_flame_stack *stack = &profile.stacks[at];
    if (stack->text == NULL &&
        (profile.count == STACKS_MAX / 2 || (stack->text = strdup(text)) == NULL)) {
        profile.lost++;
        return;
    }
    profile.count += stack->count++ == 0;
}

static const char *stage_name(const struct md_stages *stages, int level)
{
    return atomic_load_explicit(&stages->levels[level].name, memory_order_relaxed);
}

/* The thread's stages, outermost first; false when it has none. */
static bool write_stages(const struct md_stages *stages, struct md_buffer *text)
{
    int depth = md__stages_depth(stages);
    depth = depth < MD_SPAN_DEPTH_MAX ? depth : MD_SPAN_DEPTH_MAX;
    for (int i = 0; i < depth; i++) {
        const char *name = stage_name(stages, i);
        md_buffer_printf(text, "%s%s", i > 0 ? ";" : "", name != NULL ? name : "?");
    }
    return depth > 0;
}

static bool is_in_lua(const struct md_stages *stages)
{
    int depth = md__stages_depth(stages);
    const char *name =
        depth > 0 && depth <= MD_SPAN_DEPTH_MAX ? stage_name(stages, depth - 1) : "";
    return name != NULL && strcmp(name, MD_PROFILE_LUA) == 0;
}

/* With both locks held. */
static void look_at_thread(struct md_stages *stages, void *unused)
{
    char memory[TEXT_MAX];
    struct md_buffer text;
    (void)unused;
    md_buffer_init_fixed(&text, memory, sizeof memory);
    if (stages == &md_stages || atomic_load(&stages->lent) || !write_stages(stages, &text))
        return;
    bool in_lua = is_in_lua(stages);
    bool asked = atomic_exchange(&stages->wanted, in_lua);
    if (in_lua && asked)
        md_buffer_text(&text, ";(C)");
    if (!in_lua || asked)
        count(memory);
}

void md_profile_add(const char *frames)
{
    char memory[TEXT_MAX];
    struct md_buffer text;
    md_buffer_init_fixed(&text, memory, sizeof memory);
    atomic_store(&md_stages.wanted, false);
    if (!write_stages(&md_stages, &text))
        return;
    md_buffer_printf(&text, ";%s", frames);
    pthread_mutex_lock(&profile.lock);
    if (profile.stacks != NULL)
        count(memory);
    pthread_mutex_unlock(&profile.lock);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static enum md_status begin(struct md_error *err)
{
    enum md_status status = MD_OK;
    pthread_mutex_lock(&profile.lock);
    if (profile.running)
        status = md_fail(err, MD_ERR_CONFLICT, "a profile is being taken");
    else if ((profile.stacks = calloc(STACKS_MAX, sizeof *profile.stacks)) == NULL)
        status = md_fail(err, MD_ERR_MEMORY, "no memory for a profile");
    else
        profile.running = true;
    pthread_mutex_unlock(&profile.lock);
    return status;
}

static void forget_wish(struct md_stages *stages, void *unused)
{
    (void)unused;
    atomic_store(&stages->wanted, false);
}

/* Returns the milliseconds that a sample stands for: on a busy machine more than were asked for. */
static double sample(int seconds, const _Atomic bool *stop)
{
    int64_t begun_ns = md__spin_ns(), took_ns = 0;
    int ticks = 0;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    md_cond_init(&never);
    pthread_mutex_lock(&lock);
    for (; took_ns < seconds * INT64_C(1000000000) && !(stop != NULL && *stop); ticks++) {
        md_cond_wait_ns(&never, &lock, interval_ns);
        pthread_mutex_lock(&profile.lock);
        md_stages_visit(look_at_thread, NULL);
        pthread_mutex_unlock(&profile.lock);
        took_ns = md__spin_ns() - begun_ns;
    }
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&never);
    md_stages_visit(forget_wish, NULL);
    return ticks > 0 ? (double)took_ns / 1e6 / ticks : INTERVAL_MS;
}

static int compare(const void *left, const void *right)
{
    const struct md_flame_stack *a = left, *b = right;
    return strcmp(a->text, b->text);
}

/* Takes the table out of the profile; the stacks move to its head, in order. */
static struct md_flame_stack *finish(int *result)
{
    pthread_mutex_lock(&profile.lock);
    struct md_flame_stack *stacks = profile.stacks;
    uint64_t lost = profile.lost;
    profile.stacks = NULL;
    profile.count = 0;
    profile.lost = 0;
    profile.running = false;
    pthread_mutex_unlock(&profile.lock);
    int total = 0;
    for (int i = 0; i < STACKS_MAX; i++) {
        if (stacks[i].text != NULL)
            stacks[total++] = stacks[i];
    }
    char *rest = lost > 0 && total < STACKS_MAX ? strdup("(other stacks)") : NULL;
    if (rest != NULL)
        stacks[total++] = (struct md_flame_stack){rest, lost};
    qsort(stacks, (size_t)total, sizeof *stacks, compare);
    *result = total;
    return stacks;
}

enum md_status md_profile_run(int seconds, enum md_profile_form form, const _Atomic bool *stop,
                              struct md_buffer *out, struct md_error *err)
{
    if (seconds < 1 || seconds > MD_PROFILE_SECONDS_MAX)
        return md_fail(err, MD_ERR_INVALID, "seconds must be 1 to %d", MD_PROFILE_SECONDS_MAX);
    enum md_status status = begin(err);
    if (status != MD_OK)
        return status;
    int total;
    double interval_ms = sample(seconds, stop);
    struct md_flame_stack *stacks = finish(&total);
    if (form == MD_PROFILE_SVG)
        md_flame_svg(stacks, total, interval_ms, out);
    for (int i = 0; i < total; i++) {
        if (form == MD_PROFILE_FOLDED)
            md_buffer_printf(out, "%s %llu\n", stacks[i].text, (unsigned long long)stacks[i].count);
        free((char *)stacks[i].text);
    }
    free(stacks);
    return md_buffer_check(out, err);
}
