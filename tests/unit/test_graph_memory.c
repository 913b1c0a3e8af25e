/* Offsets in the arena: groups alive together never overlap, for random lifetimes and sizes. */
#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"
#include "graphs.h"
#include "unit.h"

static struct md_error err;

enum { GROUPS_MAX = 300 };

static struct md_group groups[GROUPS_MAX];

/* Groups in the order of their begin, as a planner makes them. */
static int random_groups(uint64_t *random, size_t *alive_most)
{
    int count = 1 + (int)(graphs_next(random) % GROUPS_MAX), step = 0;
    *alive_most = 0;
    for (int g = 0; g < count; g++) {
        step += (int)(graphs_next(random) % 2);
        size_t bytes = graphs_next(random) % 4 ? 64 * (1 + graphs_next(random) % 40)
                                               : graphs_next(random) % 5000;
        groups[g] =
            (struct md_group){.place = graphs_next(random) % 9 ? MD_PLACE_ARENA : MD_PLACE_OUTPUT,
                              .begin = step,
                              .end = step + (int)(graphs_next(random) % 12),
                              .bytes = bytes};
    }
    for (int now = 0; now <= step; now++) {
        size_t alive = 0;
        for (int g = 0; g < count; g++)
            if (groups[g].place == MD_PLACE_ARENA && groups[g].begin <= now && groups[g].end >= now)
                alive += (groups[g].bytes + MD_PLAN_ALIGN - 1) / MD_PLAN_ALIGN * MD_PLAN_ALIGN;
        *alive_most = alive > *alive_most ? alive : *alive_most;
    }
    return count;
}

static bool overlap(const struct md_group *a, const struct md_group *b)
{
    bool together = a->begin <= b->end && b->begin <= a->end;
    return together && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static void living_groups_never_overlap(void **state)
{
    uint64_t random = 3;
    double worst = 0;
    for (int round = 0; round < 300; round++) {
        size_t alive, arena;
        size_t guard = round % 2 ? 64 : 0;
        int count = random_groups(&random, &alive);
        assert_ok(md__plan_memory(groups, count, guard, SIZE_MAX, &arena, &err));
        for (int a = 0; a < count; a++) {
            if (groups[a].place != MD_PLACE_ARENA || groups[a].bytes == 0)
                continue;
            assert_int_equal(groups[a].offset % MD_PLAN_ALIGN, 0);
            assert_true(groups[a].offset + groups[a].bytes + guard <= arena);
            for (int b = 0; b < a; b++)
                if (groups[b].place == MD_PLACE_ARENA && groups[b].bytes > 0)
                    assert_false(overlap(&groups[a], &groups[b]));
        }
        if (!guard && alive > 0 && (double)arena / (double)alive > worst)
            worst = (double)arena / (double)alive;
    }
    assert_true(worst >= 1.0 && worst < 1.6); /* fragmentation stays modest */
}

static void a_limit_is_kept_and_sizes_do_not_wrap(void **state)
{
    size_t arena;
    groups[0] = (struct md_group){.begin = 0, .end = 2, .bytes = 1000};
    groups[1] = (struct md_group){.begin = 1, .end = 2, .bytes = 1000};
    assert_ok(md__plan_memory(groups, 2, 0, 2048, &arena, &err));
    assert_int_equal(arena, 2048);
    assert_fails(MD_ERR_TOO_LARGE, md__plan_memory(groups, 2, 0, 2047, &arena, &err));
    assert_says("2047 bytes");
    groups[1].bytes = SIZE_MAX - 3;
    assert_fails(MD_ERR_TOO_LARGE, md__plan_memory(groups, 2, 0, SIZE_MAX / 2, &arena, &err));
    groups[1].begin = 3; /* after the first has died */
    groups[1].end = 4;
    groups[1].bytes = 900;
    assert_ok(md__plan_memory(groups, 2, 0, 1024, &arena, &err));
    assert_int_equal(groups[1].offset, 0);
    assert_ok(md__plan_memory(groups, 0, 0, 0, &arena, &err));
    assert_int_equal(arena, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(living_groups_never_overlap),
        cmocka_unit_test(a_limit_is_kept_and_sizes_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
