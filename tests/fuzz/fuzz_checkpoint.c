/* What LuaJIT compiles, it compiles with checkpoints too, and no line moves. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "fuzz.h"
#include "script/internal.h"

static int count_lines(const char *text, size_t length)
{
    int lines = 0;
    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct md_buffer guarded;
    md_buffer_init(&guarded, 0);
    md__checkpoint_insert(text, size, &guarded);
    assert(guarded.failed == MD_OK);
    assert(count_lines(text, size) == count_lines(guarded.data, guarded.length));
    lua_State *L = luaL_newstate();
    assert(L != NULL);
    if (luaL_loadbufferx(L, text, size, "=text", "t") == 0 &&
        luaL_loadbufferx(L, guarded.data, guarded.length, "=guarded", "t") != 0) {
        /*
         * The two locals of the prologue may be the ones too many; and LuaJIT lets a variable be
         * called goto, which the pass takes for a statement: such a file is refused.
         */
        const char *why = lua_tostring(L, -1);
        assert(strstr(why, "too many") || strstr(why, "limit") || memmem(text, size, "goto", 4));
    }
    lua_close(L);
    md_buffer_fini(&guarded);
    return 0;
}
