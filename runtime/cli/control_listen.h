/* The name in the file system of the control socket: making it, taking connections, removing it. */
#ifndef MD_CLI_CONTROL_LISTEN_H
#define MD_CLI_CONTROL_LISTEN_H

#include <limits.h>
#include <sys/types.h>

#include "base/status.h"

struct md__listener {
    int socket; /* does not block */
    char path[PATH_MAX];
    dev_t device; /* which file at path is ours */
    ino_t inode;
};

/* See md__control_new. */
enum md_status md__listener_open(struct md__listener *listener, const char *path,
                                 struct md_error *err);
/* A connection whose peer may talk to us, which does not block; -1: none. */
int md__listener_accept(struct md__listener *listener);
void md__listener_close(struct md__listener *listener); /* removes the file when it is ours */

#endif
