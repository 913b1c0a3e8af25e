/* md.device(): where models run, and why; of a GPU, how busy it is. */
#include "script/internal.h"
#include "serve/serve.h"

/* What is not known (negative) is left out. */
static void set_known(lua_State *L, const char *name, double value)
{
    if (value >= 0)
        md__set_number(L, name, value);
}

static void push_accelerator(lua_State *L, const struct md_serve_device *device)
{
    const struct md_accelerator_report *report = &device->report;
    md__set_text(L, "name", report->info.name);
    md__set_text(L, "version", report->info.version);
    md__set_text(L, "precision", md_precision_name(device->precision));
    set_known(L, "index", report->info.index);
    set_known(L, "memory_bytes", (double)report->total_bytes);
    set_known(L, "free_bytes", (double)report->free_bytes);
    set_known(L, "weight_bytes", (double)report->weight_bytes);
    set_known(L, "arena_bytes", (double)report->arena_bytes);
    set_known(L, "runs_done", (double)report->runs);
    set_known(L, "runs_failed", (double)report->failed_runs);
    set_known(L, "runs_without_memory", (double)report->memory_runs);
    set_known(L, "runs_repeated", (double)report->repeated_runs);
    set_known(L, "busy_pct", device->usage.busy_pct);
    set_known(L, "memory_busy_pct", device->usage.memory_busy_pct);
    set_known(L, "memory_used_bytes", device->usage.memory_used_bytes);
    set_known(L, "clock_mhz", device->usage.clock_mhz);
    set_known(L, "memory_clock_mhz", device->usage.memory_clock_mhz);
    set_known(L, "power_w", device->usage.power_w);
    set_known(L, "temperature_c", device->usage.temperature_c);
}

/* () -> { runs = "cpu", why = "no NVIDIA driver" }, or what push_accelerator adds */
static int device_look(lua_State *L)
{
    struct md_serve_device device = {.runs = "cpu"};
    struct md_serve *serve = md__state(L)->script->serve;
    md__check_acting(L, "md.device");
    if (serve != NULL)
        md_serve_device(serve, &device);
    lua_newtable(L);
    md__set_text(L, "runs", device.runs);
    if (device.why[0] != '\0')
        md__set_text(L, "why", device.why);
    if (device.accelerated)
        push_accelerator(L, &device);
    return 1;
}

/* () -> name, memory_bytes of the GPU that was opened; nothing without one. For the library, while
 * files load: it stays the same as long as the process lives. */
static int device_gpu(lua_State *L)
{
    struct md_serve *serve = md__state(L)->script->serve;
    const struct md_device_info *info = serve != NULL ? md_serve_accelerator(serve) : NULL;
    if (info == NULL)
        return 0;
    lua_pushstring(L, info->name);
    lua_pushnumber(L, (double)info->memory_bytes);
    return 2;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {
        {"device", device_look}, {"gpu", device_gpu}, {NULL, NULL}};
    (void)script;
    luaL_register(L, NULL, functions);
}

const struct md__binding md__binding_device = {.name = "device", .bind = bind};
