/* A child that writes on until it is killed, for tests of what outlives it. */
#ifndef MD_TESTS_KILLED_H
#define MD_TESTS_KILLED_H

#include <sys/types.h>

/*
 * The child writes the number of each tick, an int, to the pipe `told` when the tick was kept.
 * Waits for one, kills the child after some microseconds more, and returns the last number that was
 * told, or -1.
 */
int kill_soon(pid_t child, int told, unsigned after_us);

#endif
