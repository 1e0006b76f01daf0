"""Interpreter starts without the price of exec: the part of a start that reads startup files, in a new process each time.

Run with -S, so that nothing has been read when a child is forked off. Each child does what an interpreter does then,
site.addsitedir() of the next site directory, and ends with what it saw as its exit status; the parent passes
that on, one byte per child. The bits are those of sighting.rs.
"""

import itertools
import os
import signal
import site  # with -S this does nothing yet
import sys

EXECUTED, KEPT, VICTIM, PACKAGES, BROKEN = 1, 2, 4, 8, 128
#: A FIFO without an author blocks whoever opens it; seconds.
LIMIT = 10


def seen():
    try:
        import pthguard_package

        packages = PACKAGES
    except ImportError:
        packages = 0
    return (
        (EXECUTED if getattr(sys, "pthguard_evil", 0) else 0)
        | (KEPT if getattr(sys, "pthguard_keep", 0) else 0)
        | (VICTIM if getattr(sys, "pthguard_victim", 0) else 0)
        | packages
    )


def child(directory):
    signal.alarm(LIMIT)
    try:
        site.addsitedir(directory, set())
        status = seen()
    except BaseException:
        status = BROKEN
    os._exit(status)


def main():
    sys.stderr = open(os.devnull, "w")  # site says there what it could not read
    for directory in itertools.cycle(sys.argv[1:]):
        pid = os.fork()
        if pid == 0:
            child(directory)
        status = os.waitpid(pid, 0)[1]
        os.write(1, bytes([os.WEXITSTATUS(status) if os.WIFEXITED(status) else BROKEN]))


main()
