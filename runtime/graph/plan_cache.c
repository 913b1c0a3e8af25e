/*
 * Which plans an executable keeps: a tree whose roots are made for input shapes and whose inner
 * nodes end where a run had to find something out. At most plans_max leaves stay, and so many
 * bytes, whatever comes in: a call whose contents are new each time replaces its own leaf.
 */
#include <string.h>

#include "graph/executable_internal.h"

#define PLANS_BYTES_MAX ((size_t)256 << 20)

static struct md_plan **list_of(struct md_executable *executable, struct md_plan *parent)
{
    return parent ? &parent->children : &executable->roots;
}

static bool fact_holds(const struct md_fact *kept, const struct md_fact *now)
{
    if (kept->tensor.dtype != now->tensor.dtype ||
        !md_shape_equal(&kept->tensor.shape, &now->tensor.shape))
        return false;
    return !kept->tensor.data ||
           memcmp(kept->tensor.data, now->tensor.data, md_tensor_bytes(&kept->tensor)) == 0;
}

struct md_plan *md__plans_find(struct md_executable *executable, struct md_plan *parent,
                               const struct md_fact *facts, int fact_count)
{
    struct md_plan **list = list_of(executable, parent);
    for (struct md_plan **at = list; *at; at = &(*at)->next) {
        struct md_plan *plan = *at;
        int held = 0;
        if ((plan->device != NULL) != executable->device_on)
            continue;
        while (held < fact_count && fact_holds(&plan->facts[held], &facts[held]))
            held++;
        if (held < fact_count)
            continue;
        *at = plan->next; /* to the front */
        plan->next = *list;
        *list = plan;
        return plan;
    }
    return NULL;
}

struct md_plan *md__plans_next(struct md_plan *plan)
{
    if (plan->children)
        return plan->children;
    while (plan && !plan->next)
        plan = plan->parent;
    return plan ? plan->next : NULL;
}

static void delete_leaf(struct md_executable *executable, struct md_plan *plan)
{
    struct md_plan **at = list_of(executable, plan->parent);
    while (*at != plan)
        at = &(*at)->next;
    *at = plan->next;
    executable->plan_count--;
    executable->plan_bytes -= md__plan_bytes(plan);
    if (executable->last == plan)
        executable->last = NULL;
    md__plan_delete(plan);
}

/* The least recently used leaf but `spared`, and how many leaves there are. */
static struct md_plan *oldest_leaf(struct md_executable *executable, const struct md_plan *spared,
                                   int *leaves)
{
    struct md_plan *oldest = NULL;
    *leaves = 0;
    for (struct md_plan *plan = executable->roots; plan; plan = md__plans_next(plan)) {
        if (plan->children)
            continue;
        ++*leaves;
        if (plan != spared && (!oldest || plan->last_used < oldest->last_used))
            oldest = plan;
    }
    return oldest;
}

void md__plans_keep(struct md_executable *executable, struct md_plan *plan)
{
    struct md_plan **list = list_of(executable, plan->parent);
    plan->next = *list;
    *list = plan;
    plan->last_used = ++executable->uses;
    executable->plan_count++;
    executable->plan_bytes += md__plan_bytes(plan);
    for (;;) {
        int leaves;
        struct md_plan *oldest = oldest_leaf(executable, plan, &leaves);
        if (!oldest ||
            (leaves <= executable->options.plans_max && executable->plan_bytes <= PLANS_BYTES_MAX))
            return;
        /* What only led there goes with it; the new plan's ancestors have a child. */
        while (oldest && !oldest->children) {
            struct md_plan *parent = oldest->parent;
            delete_leaf(executable, oldest);
            oldest = parent;
        }
    }
}

void md__plans_delete(struct md_executable *executable)
{
    while (executable->roots) {
        struct md_plan *plan = executable->roots;
        while (plan->children)
            plan = plan->children;
        delete_leaf(executable, plan);
    }
}
