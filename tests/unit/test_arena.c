/* Arena: alignment, zeroing, cap, overflow. */
#include <string.h>

#include "base/arena.h"
#include "unit.h"

static void memory_is_aligned_zeroed_and_distinct(void **state)
{
    struct md_arena arena;
    md_arena_init(&arena, 0);
    unsigned char *last = NULL;
    for (size_t size = 0; size < 2000; size++) {
        unsigned char *memory = md_arena_alloc(&arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        assert_ptr_not_equal(memory, last);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xAA, size);
        last = memory;
    }
    assert_true(arena.used >= 1999 * 2000 / 2);
    md_arena_fini(&arena);
    assert_int_equal(arena.used, 0);
    md_arena_fini(&arena);
}

static void a_large_piece_gets_its_own_block(void **state)
{
    struct md_arena arena;
    md_arena_init(&arena, 0);
    char *small = md_arena_strdup(&arena, "small");
    char *large = md_arena_alloc(&arena, 5 << 20);
    assert_non_null(large);
    large[(5 << 20) - 1] = 1;
    assert_string_equal(small, "small");
    md_arena_fini(&arena);
}

static void the_cap_holds(void **state)
{
    struct md_arena arena;
    md_arena_init(&arena, 64);
    assert_non_null(md_arena_alloc(&arena, 33)); /* rounds to 48 */
    assert_null(md_arena_alloc(&arena, 17));
    assert_non_null(md_arena_alloc(&arena, 16));
    assert_null(md_arena_alloc(&arena, 0));
    assert_null(md_arena_strdup(&arena, "x"));
    assert_int_equal(arena.used, 64);
    md_arena_fini(&arena);
    assert_non_null(
        md_arena_alloc(&arena, 64)); /* a finished arena keeps its cap and may be used again */
    assert_null(md_arena_alloc(&arena, 1));
    md_arena_fini(&arena);
}

static void sizes_that_overflow_fail(void **state)
{
    struct md_arena arena;
    md_arena_init(&arena, 0);
    assert_null(md_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(md_arena_alloc(&arena, SIZE_MAX));
    assert_null(md_arena_alloc(&arena, SIZE_MAX - 15));
    assert_non_null(md_arena_array(&arena, 3, 5));
    assert_int_equal(arena.used, 16);
    md_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_distinct),
        cmocka_unit_test(a_large_piece_gets_its_own_block),
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(sizes_that_overflow_fail),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
