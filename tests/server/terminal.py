"""A command of the binary at a pseudo-terminal, for what only happens when somebody types.

    with Terminal("repl", "--state", state) as terminal:
        terminal.wait("moondial> ")
        terminal.line("1 + 1")
        terminal.wait("2")
"""
import os
import pty
import re
import select
import signal
import time

from daemon import BINARY


def plain(text):
    """Without what moves the cursor or changes colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", text)


class Terminal:
    """The process, what it has written and not been waited for, and ways to type."""

    def __init__(self, *arguments, env=None):
        self.seen = ""
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "100",
                               "LINES": "40"}, **(env or {}))
            os.execv(BINARY, [BINARY, *arguments])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)
        try:
            os.kill(self.process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(self.process, 0)
        except ChildProcessError:
            pass

    def send(self, text):
        os.write(self.fd, text.encode())

    def line(self, text):
        self.send(text + "\r")

    def wait(self, pattern, seconds=30):
        """Reads until the pattern has come since the last wait; returns the text up to its end."""
        end = time.time() + seconds
        while True:
            found = re.search(pattern, plain(self.seen))
            if found:
                text, self.seen = plain(self.seen)[:found.end()], plain(self.seen)[found.end():]
                return text
            if time.time() > end or not select.select([self.fd], [], [], end - time.time())[0]:
                raise AssertionError(f"no {pattern!r} in {plain(self.seen)!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"ended without {pattern!r}: {plain(self.seen)!r}")
            self.seen += data.decode(errors="replace")

    def ask(self, text, pattern):
        """Types a line; waits for the pattern in what comes after it, then for the next prompt."""
        self.line(text)
        answer = self.wait(pattern)
        self.wait(r"moondial( live)?> ")
        return answer

    def ended(self, seconds=30, typing=""):
        """The exit status. What is to be typed is typed again each second: a key that comes between
        the prompt and the terminal's raw mode is lost."""
        for step in range(int(seconds * 50)):
            if typing and step % 50 == 0:
                self.send(typing)
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("still running")
