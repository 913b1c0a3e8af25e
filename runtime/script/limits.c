/*
 * Time budgets at run time. Work is counted in units: a checkpoint is one, so are some hundred
 * bytes that a script allocates, and functions in C tell what they are about to do. After enough
 * work comes a look at the clock; how much is enough follows from how long the work since the last
 * look took, so that a hundred cheap loops cost one look and one huge string costs one too.
 *
 * Once the budget is spent the script is stopped: whatever looks next raises, again and again until
 * the task has left every pcall, and its result does not count even when no look comes (task.c).
 * Large allocations fail as well from then on (state.c), which ends code without any checkpoint.
 *
 * A look is also when garbage is collected if memory runs short: LuaJIT fails an allocation over
 * the cap without asking what could be freed.
 *
 * The C stack is watched too: LuaJIT counts Lua's own frames, not those of C below callbacks and
 * nested coroutines, and the end of the C stack is the end of the process.
 */
#include <stdio.h>

#include "base/profile.h"
#include "base/stack.h"
#include "script/internal.h"

enum { LOOK_AT_FIRST = 64, LOOK_AT_MAX = 128, FRAMES_MAX = 24 };

/* Looks come about as often: cheap beside the work, fine beside any budget. */
static const int64_t look_ns_min = 20000, look_ns_max = 500000;

const char md__spent_text[] = "runs longer than its time budget";

/* The state that this thread runs Lua on: an FFI call has no lua_State to ask. */
static _Thread_local struct md__state *running;

struct md__state *md__state_running(struct md__state *state)
{
    struct md__state *before = running;
    running = state;
    if (state != NULL)
        state->stack_low = md_stack_low();
    return before;
}

void md__budget_begin(struct md__state *state, int64_t ns)
{
    md__budget_begin_at(state, ns, md_monotonic_ns(state->script->clock));
}

/* A handler of a few lines ends before the first look. Work counts on, or a row of short slices
 * would never be looked at. */
void md__budget_begin_at(struct md__state *state, int64_t ns, int64_t now_ns)
{
    state->looked_ns = now_ns;
    state->budget_end_ns = ns > 0 ? now_ns + ns : 0;
    state->look_at = LOOK_AT_FIRST;
    state->expired = state->deep = false;
    state->stopped_at[0] = '\0';
}

bool md__budget_end(struct md__state *state)
{
    bool expired = state->expired;
    state->budget_end_ns = 0;
    state->expired = false;
    return expired;
}

/* True when there is something to do: see md__stop. */
static bool look(struct md__state *state)
{
    state->work = 0;
    if (state->budget_end_ns == 0 || state->expired) {
        state->look_at = state->expired ? 0 : LOOK_AT_MAX;
        return state->expired;
    }
    int64_t now_ns = md_monotonic_ns(state->script->clock);
    int64_t took_ns = now_ns - state->looked_ns;
    state->looked_ns = now_ns;
    int64_t end_ns = atomic_load(&state->script->end_ns);
    state->expired = now_ns > state->budget_end_ns || (end_ns != 0 && now_ns > end_ns) ||
                     md__is_interrupted(state);
    if (took_ns > look_ns_max)
        state->look_at = 1;
    else if (took_ns < look_ns_min && state->look_at < LOOK_AT_MAX)
        state->look_at = 2 * state->look_at + 1;
    return state->expired || state->pressed;
}

bool md__is_spent(struct md__state *state, double units)
{
    if (units < LOOK_AT_MAX)
        state->work += units > 0 ? (uint32_t)units : 0;
    else
        state->work += LOOK_AT_MAX;
    if (state->work >= state->look_at)
        look(state);
    return state->expired;
}

static bool is_deep(struct md__state *state)
{
    bool deep = (uintptr_t)__builtin_frame_address(0) < state->stack_low;
    state->deep |= deep;
    return deep;
}

/* Apart, so that what every loop calls needs no frame. */
static __attribute__((noinline)) int look_closer(struct md__state *state)
{
    if (is_deep(state) || md_profile_wanted())
        return 1;
    return state->work >= state->look_at && look(state);
}

int md__script_checkpoint(void)
{
    struct md__state *state = running;
    if (state == NULL)
        return 0;
    if (++state->work < state->look_at &&
        (uintptr_t)__builtin_frame_address(0) >= state->stack_low && !md_profile_wanted())
        return 0;
    return look_closer(state);
}

int md__script_spend(double units)
{
    return running != NULL && md__is_spent(running, units);
}

/* Where the script was when it was first told to stop. */
static void note_place(lua_State *L, struct md__state *state)
{
    lua_Debug place;
    for (int level = 0; state->stopped_at[0] == '\0' && lua_getstack(L, level, &place); level++) {
        lua_getinfo(L, "Sl", &place);
        if (place.currentline > 0)
            snprintf(state->stopped_at, sizeof state->stopped_at, "%s:%d", place.short_src,
                     place.currentline);
    }
}

/* The functions that run, outermost first, for the profiler. */
static void add_sample(lua_State *L)
{
    char memory[1024];
    struct md_buffer text;
    lua_Debug frame;
    int count = 0;
    md_buffer_init_fixed(&text, memory, sizeof memory);
    while (count < FRAMES_MAX && lua_getstack(L, count + 1, &frame))
        count++;
    for (int level = count; level >= 1; level--) {
        if (!lua_getstack(L, level, &frame) || !lua_getinfo(L, "nSl", &frame))
            continue;
        md_buffer_printf(&text, "%s%s", text.length > 0 ? ";" : "",
                         frame.name != NULL ? frame.name : "function");
        if (frame.what[0] != 'C')
            md_buffer_printf(&text, " %s:%d", frame.short_src, frame.linedefined);
    }
    md_profile_add(text.length > 0 ? memory : "(Lua)");
}

int md__stop(lua_State *L)
{
    struct md__state *state = md__state(L);
    if (md_profile_wanted())
        add_sample(L);
    if (state->expired) {
        note_place(L, state);
        return luaL_error(L, "%s", md__is_interrupted(state) ? "interrupted" : md__spent_text);
    }
    if (is_deep(state))
        return luaL_error(L, "stack overflow (callbacks or coroutines nested too deep)");
    if (state->pressed)
        md__state_relieve(L);
    return 0;
}

void md__spend(lua_State *L, double units)
{
    if (md__is_spent(md__state(L), units))
        md__stop(L);
}
