/* Budgets of time at run time; see limits.c. */
#ifndef MD_SCRIPT_LIMITS_H
#define MD_SCRIPT_LIMITS_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct md__state;

/* Tells which state this thread runs Lua on; returns the one before. */
struct md__state *md__state_running(struct md__state *state);
/* Lua on this state may take ns from now on (0: any time), until the end; true: it took longer and
 * was told to stop. */
void md__budget_begin(struct md__state *state, int64_t ns);
void md__budget_begin_at(struct md__state *state, int64_t ns, int64_t now_ns);
bool md__budget_end(struct md__state *state);
/*
 * What C does for a script in loops of its own: so many units of work, about as long as ten
 * nanoseconds each. md__spend raises when the budget is spent; md__is_spent only tells. Both are
 * cheap; neither is for less than a few hundred units at a time.
 */
void md__spend(lua_State *L, double units);
bool md__is_spent(struct md__state *state, double units);
/* What there is to do after a checkpoint that said so: raises that the budget or the C stack is
 * spent, or collects garbage and goes on. */
int md__stop(lua_State *L);
/* What checkpoints call through the FFI, found by name in the executable; not 0: call md__stop. */
int md__script_checkpoint(void);
int md__script_spend(double units);
extern const char md__spent_text[];

#endif
