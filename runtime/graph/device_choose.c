/*
 * Choosing what is worth its copies. What the device could take falls into *stretches*: nodes in
 * the order of execution with none in between that has to be the host's. A stretch goes to the
 * device when that saves more than it costs to bring values there and back and to wait for it; and
 * all of them together are weighed against the host alone, so that a plan which copies more than it
 * computes stays on the host.
 *
 * Times are estimates: work over rates, which the driver tells of its device and which are rough
 * for the host. They decide between a product of thousands of rows and an addition of ten numbers,
 * not between two good plans. A device without rates (one that is emulated) is taken to cost
 * nothing. Switched off as the pass "place": then the device gets all that it can take.
 */
#include <stdlib.h>

#include "graph/device_internal.h"
#include "graph/evaluate.h"
#include "graph/pass.h"

/* One thread of the host, about. */
#define HOST_FLOPS           50e9
#define HOST_TRANSCENDENTALS 1e9
#define HOST_BYTES           10e9 /* all threads together */
#define HOST_STEP_S          0.5e-6

/* Integers of this size that nothing on the device needs are counting, which the host does. */
#define COUNTING_BYTES ((size_t)64 << 10)

/* Of a value, and of all that view it as one. */
struct reach {
    int root;        /* whose memory it is */
    int here, there; /* readers on the host (with what outlives the plan), on the device */
    int seen;        /* by the sum that was made last */
    bool made_there;
};

struct node_cost {
    bool works; /* it is a step, not a view or known */
    double host_s, device_s;
};

struct chooser {
    struct md_planner *planner;
    const struct md_device_speed *speed;
    bool *chosen; /* of each node of the plan, from its first */
    struct reach *reaches;
    struct node_cost *costs;
    int sums;
};

static struct reach *reach_of(const struct chooser *chooser, int value)
{
    return &chooser->reaches[chooser->reaches[value].root];
}

static const struct md_node *node_at(const struct chooser *chooser, int n)
{
    return &chooser->planner->graph->nodes[n];
}

/* ---- what could go there ---- */

/* Small integers made of what is on the host: sizes, indices, masks of places. */
static bool is_counting(const struct chooser *chooser, const struct md_node *node)
{
    const struct md_planner *planner = chooser->planner;
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE && reach_of(chooser, node->in[i])->made_there)
            return false;
    for (int i = 0; i < node->out_count; i++)
        if (planner->trace.values[node->out[i]].dtype == MD_F32 ||
            md__plan_value_bytes(planner, node->out[i]) > COUNTING_BYTES)
            return false;
    return true;
}

static void note_cost(struct chooser *chooser, const struct md_node *node, struct node_cost *cost)
{
    struct md_planner *planner = chooser->planner;
    const struct md_device_speed *speed = chooser->speed;
    struct md_node_room *room = &planner->trace.room;
    struct md_plan_report own = {0};
    double threads = md_pool_threads(planner->context->options->pool);
    if (md__plan_node_is_open(planner, node)) /* without sizes there is nothing to count */
        return;
    md__trace_infos(&planner->trace, node->in, node->in_count, room->in_info);
    md__trace_infos(&planner->trace, node->out, node->out_count, room->out_info);
    md__node_cost(node, room->in_info, room->out_info, &own);
    cost->host_s = HOST_STEP_S + own.flops / (HOST_FLOPS * threads) + own.bytes / HOST_BYTES +
                   own.transcendentals / (HOST_TRANSCENDENTALS * threads);
    cost->device_s = speed->step_s;
    if (speed->flops > 0)
        cost->device_s += own.flops / speed->flops + own.bytes / speed->bytes;
}

static void look_at(struct chooser *chooser, int n)
{
    struct md_planner *planner = chooser->planner;
    const struct md_node *node = node_at(chooser, n);
    int at = n - planner->plan->node_begin;
    if (md__trace_knows(&planner->trace, node))
        return;
    if (md__plan_is_view(&planner->trace, node)) {
        chooser->reaches[node->out[0]].root = chooser->reaches[node->in[0]].root;
        return;
    }
    chooser->costs[at].works = true;
    chooser->chosen[at] = !is_counting(chooser, node) && md__device_kernel(planner, node) != NULL;
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != MD_NONE)
            reach_of(chooser, node->out[i])->made_there = chooser->chosen[at];
    note_cost(chooser, node, &chooser->costs[at]);
}

/* Who reads what, once it is known where each node would be. */
static void count_readers(struct chooser *chooser)
{
    const struct md_planner *planner = chooser->planner;
    const struct md_plan *plan = planner->plan;
    for (int n = plan->node_begin; n < plan->node_end; n++) {
        const struct md_node *node = node_at(chooser, n);
        int at = n - plan->node_begin;
        for (int i = 0; i < node->in_count && chooser->costs[at].works; i++)
            if (node->in[i] != MD_NONE)
                *(chooser->chosen[at] ? &reach_of(chooser, node->in[i])->there
                                      : &reach_of(chooser, node->in[i])->here) += 1;
        for (int i = 0; i < node->out_count; i++)
            if (node->out[i] != MD_NONE && (planner->is_output[node->out[i]] ||
                                            planner->last_read[node->out[i]] >= plan->node_end))
                reach_of(chooser, node->out[i])->here +=
                    md__device_taken_by(planner, node->out[i]) == MD_NONE;
    }
}

/* ---- sums ---- */

/* Seconds that copies of the value take as things are; 0 when this sum has it already. */
static double copy_s(struct chooser *chooser, int value)
{
    const struct md_planner *planner = chooser->planner;
    if (value == MD_NONE)
        return 0;
    int root = chooser->reaches[value].root;
    struct reach *reach = &chooser->reaches[root];
    if (reach->seen == chooser->sums || planner->graph->values[root].constant.data)
        return 0;
    reach->seen = chooser->sums;
    bool moves = reach->made_there
                     ? reach->here > 0
                     : reach->there > 0 && md__device_lent_by(planner, root) == MD_NONE;
    return moves ? chooser->speed->copy_s +
                       (double)md__plan_value_bytes(planner, root) / chooser->speed->copy_bytes
                 : 0;
}

/* Of nodes [begin, end): their work where they are now, the waiting, the copies of all they touch.
 */
static double sum_s(struct chooser *chooser, int begin, int end)
{
    int first = chooser->planner->plan->node_begin;
    double total = 0;
    bool was_there = false;
    chooser->sums++;
    for (int n = begin; n < end; n++) {
        const struct md_node *node = node_at(chooser, n);
        bool there = chooser->chosen[n - first];
        if (!chooser->costs[n - first].works)
            continue;
        total += there ? chooser->costs[n - first].device_s : chooser->costs[n - first].host_s;
        total += there && !was_there ? chooser->speed->wait_s : 0;
        was_there = there;
        for (int i = 0; i < node->in_count; i++)
            total += copy_s(chooser, node->in[i]);
        for (int i = 0; i < node->out_count; i++)
            total += copy_s(chooser, node->out[i]);
    }
    return total;
}

static void move(struct chooser *chooser, int n, bool there)
{
    const struct md_node *node = node_at(chooser, n);
    chooser->chosen[n - chooser->planner->plan->node_begin] = there;
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != MD_NONE) {
            reach_of(chooser, node->in[i])->there += there ? 1 : -1;
            reach_of(chooser, node->in[i])->here -= there ? 1 : -1;
        }
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != MD_NONE)
            reach_of(chooser, node->out[i])->made_there = there;
}

/* The nodes of [begin, end) that are on the device come home if that is cheaper: how many. */
static int try_home(struct chooser *chooser, int begin, int end)
{
    int first = chooser->planner->plan->node_begin, count = 0;
    bool *were = calloc((size_t)(end - begin) + 1, sizeof *were);
    if (!were)
        return 0; /* as good a plan as any */
    double before = sum_s(chooser, begin, end);
    for (int n = begin; n < end; n++) {
        were[n - begin] = chooser->chosen[n - first];
        count += were[n - begin];
        if (were[n - begin])
            move(chooser, n, false);
    }
    if (sum_s(chooser, begin, end) >= before) {
        for (int n = begin; n < end; n++)
            if (were[n - begin])
                move(chooser, n, true);
        count = 0;
    }
    free(were);
    return count;
}

static int weigh(struct chooser *chooser)
{
    const struct md_plan *plan = chooser->planner->plan;
    int first = plan->node_begin, home = 0;
    for (int begin = first, end; begin < plan->node_end; begin = end) {
        end = begin + 1;
        if (!chooser->costs[begin - first].works || !chooser->chosen[begin - first])
            continue;
        while (end < plan->node_end &&
               (!chooser->costs[end - first].works || chooser->chosen[end - first]))
            end++;
        home += try_home(chooser, begin, end);
    }
    return home + try_home(chooser, first, plan->node_end);
}

enum md_status md__device_choose(struct md_planner *planner)
{
    struct md_plan *plan = planner->plan;
    struct md__device *device = plan->device->device;
    struct chooser chooser = {.planner = planner,
                              .speed = &md__accelerator_info(device->accelerator)->speed,
                              .chosen = plan->device->chosen};
    int values = planner->graph->value_count;
    size_t nodes = (size_t)(plan->node_end - plan->node_begin);
    chooser.reaches = calloc((size_t)values + 1, sizeof *chooser.reaches);
    chooser.costs = calloc(nodes + 1, sizeof *chooser.costs);
    enum md_status status = MD_OK;
    if (!chooser.reaches || !chooser.costs) {
        status = md_fail(planner->err, MD_ERR_MEMORY, "out of memory while planning");
        goto out;
    }
    for (int v = 0; v < values; v++)
        chooser.reaches[v].root = v;
    for (int n = plan->node_begin; n < plan->node_end; n++)
        look_at(&chooser, n);
    if (device->weighs && chooser.speed->copy_bytes > 0) {
        count_readers(&chooser);
        plan->report.left_steps = weigh(&chooser);
    }
out:
    free(chooser.reaches);
    free(chooser.costs);
    return status;
}
