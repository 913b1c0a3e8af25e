/*
 * The name in the file system of the control socket.
 *
 * Mode 0600 holds from the first moment on: a socket that nobody listens to yet refuses everybody,
 * so the mode is set between bind() and listen(), whatever the umask is. Whether a socket that is
 * found is stale is asked by connecting to it; a lock on the folder keeps two daemons that start at
 * the same moment from each taking the other's socket for stale.
 */
#include "cli/control_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/control.h"

enum { BACKLOG = 16, LOCK_TRIES = 100, LOCK_PAUSE_US = 10000 };

enum md_status md__control_address(const char *path, struct sockaddr_un *address,
                                   struct md_error *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof address->sun_path) {
        return md_fail(err, MD_ERR_INVALID,
                       "control socket: a path has 1 to %zu bytes, not %zu (choose a shorter one "
                       "with --control): %.100s",
                       sizeof address->sun_path - 1, strlen(path), path);
    }
    strcpy(address->sun_path, path);
    return MD_OK;
}

/* ---- making it ---- */

/* The folder, locked if that is possible in a second (another process may hold it for ever). */
static int lock_folder(const char *path)
{
    char folder[PATH_MAX];
    char *slash;
    int fd;

    snprintf(folder, sizeof folder, "%s", path);
    slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder] = '\0';
    }
    fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        usleep(LOCK_PAUSE_US);
    }
    return fd;
}

/* Removes a socket that nobody listens to. */
static enum md_status remove_stale(const struct sockaddr_un *address, struct md_error *err)
{
    const char *path = address->sun_path;
    struct stat found;
    int probe, problem;

    if (lstat(path, &found) != 0) {
        return MD_OK; /* nothing there; what else may be wrong, bind will say */
    }
    if (!S_ISSOCK(found.st_mode)) {
        return md_fail(err, MD_ERR_INVALID, "control socket: %.160s is a file, not a socket", path);
    }
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return md_fail(err, MD_ERR_IO, "control socket: %s", strerror(errno));
    }
    problem = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(probe);
    if (problem == ECONNREFUSED || problem == ENOENT) {
        unlink(path);
        return MD_OK;
    }
    if (problem == 0 || problem == EAGAIN) { /* EAGAIN: alive, and its backlog is full */
        return md_fail(err, MD_ERR_CONFLICT, "control socket: another daemon answers at %.160s",
                       path);
    }
    return md_fail(err, MD_ERR_IO, "control socket %.160s: %s", path, strerror(problem));
}

static enum md_status bind_private(struct md__listener *listener, const struct sockaddr_un *address,
                                   struct md_error *err)
{
    struct stat made;
    bool bound = bind(listener->socket, (const struct sockaddr *)address, sizeof *address) == 0;

    if (bound && chmod(listener->path, S_IRUSR | S_IWUSR) == 0 &&
        lstat(listener->path, &made) == 0 && listen(listener->socket, BACKLOG) == 0) {
        listener->device = made.st_dev;
        listener->inode = made.st_ino;
        return MD_OK;
    }
    md_fail(err, MD_ERR_IO, "control socket %.160s: %s", listener->path, strerror(errno));
    if (bound) {
        unlink(listener->path);
    }
    return MD_ERR_IO;
}

enum md_status md__listener_open(struct md__listener *listener, const char *path,
                                 struct md_error *err)
{
    struct sockaddr_un address;
    enum md_status status = md__control_address(path, &address, err);
    int folder;

    if (status != MD_OK) {
        return status;
    }
    snprintf(listener->path, sizeof listener->path, "%s", path);
    listener->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->socket < 0) {
        return md_fail(err, MD_ERR_IO, "control socket: %s", strerror(errno));
    }
    folder = lock_folder(path);
    status = remove_stale(&address, err);
    if (status == MD_OK) {
        status = bind_private(listener, &address, err);
    }
    if (folder >= 0) {
        close(folder); /* and its lock */
    }
    if (status != MD_OK) {
        close(listener->socket);
    }
    return status;
}

/* ---- using it ---- */

/* The mode keeps others out already; a descriptor that was handed on must not let them in. */
static bool may_talk(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

int md__listener_accept(struct md__listener *listener)
{
    int socket = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (socket < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            usleep(LOCK_PAUSE_US); /* it stays in the backlog: do not spin */
        }
        return -1;
    }
    if (!may_talk(socket)) {
        close(socket);
        return -1;
    }
    return socket;
}

void md__listener_close(struct md__listener *listener)
{
    struct stat found;

    if (lstat(listener->path, &found) == 0 && found.st_dev == listener->device &&
        found.st_ino == listener->inode) {
        unlink(listener->path);
    }
    close(listener->socket);
}
