"""A process that dies at a chosen file operation."""

import os
import signal
import sys
from collections.abc import Callable


def run_in_a_child(work: Callable[[], object], deadly: int) -> int:
    """Do the work in a forked process that dies at the given file operation; returns its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    num_calls = 0

    def watch(event, _):
        # audit events fire before every open, rename, mkdir, rmdir, remove and foreign call
        nonlocal num_calls
        if event.split(".")[0] in ("open", "os", "shutil", "ctypes"):
            num_calls += 1
            if num_calls == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        work()
    finally:
        os._exit(0)
