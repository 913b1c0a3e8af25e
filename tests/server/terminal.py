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
import termios
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

    def wait_raw(self):
        """The prompt comes a moment before the editor takes keys as they are."""
        for _ in range(500):
            if not termios.tcgetattr(self.fd)[3] & termios.ICANON:
                return
            time.sleep(0.01)
        raise AssertionError("nobody edits a line")

    def send(self, text):
        if any(key in text for key in "\t\x04\x10\x15\x1b"):
            self.wait_raw()
        os.write(self.fd, text.encode())

    def give_up(self, pattern):
        """Ctrl-C until the pattern comes: one between the prompt and the read is not noticed."""
        for _ in range(20):
            self.send("\x03")
            try:
                return self.wait(pattern, 1)
            except AssertionError:
                pass
        raise AssertionError(f"Ctrl-C does not lead to {pattern!r}")

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

    def ended(self, seconds=30):
        for _ in range(int(seconds * 50)):
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("still running")
