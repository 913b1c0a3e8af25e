/* Killing a child that writes; see killed.h. */
#include "killed.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

int kill_soon(pid_t child, int told, unsigned after_us)
{
    int tick, last = -1;
    if (read(told, &tick, sizeof tick) == sizeof tick)
        last = tick;
    usleep(after_us);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    while (read(told, &tick, sizeof tick) == sizeof tick)
        last = tick;
    return last;
}
