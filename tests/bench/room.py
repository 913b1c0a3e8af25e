"""A machine that others use as well: two lock files tell who measures from who works."""

import contextlib
import fcntl


class Room:
    """`paths` is "DOOR,ROOM", or nothing for a machine that nobody shares. Who wants the room waits
    at the door, so that nobody waits for ever."""

    def __init__(self, paths):
        self.paths = paths.split(",") if paths else None

    @contextlib.contextmanager
    def held(self, mode):
        if not self.paths:
            yield
            return
        with open(self.paths[0], "a", encoding="utf-8") as door, \
                open(self.paths[1], "a", encoding="utf-8") as room:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, mode)
            if mode == fcntl.LOCK_SH:
                fcntl.flock(door, fcntl.LOCK_UN)
            yield

    def shared(self):
        """While others may work, and nobody measures."""
        return self.held(fcntl.LOCK_SH)

    def alone(self):
        return self.held(fcntl.LOCK_EX)
