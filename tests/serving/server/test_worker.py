"""The worker process at its start, beside a supervisor that may have exited."""

import os
import socket
import subprocess
import sys


def test_a_worker_that_starts_after_its_supervisor_has_exited_exits_too():
    reader, writer = os.pipe()
    os.close(reader)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        descriptors = [f"--socket={listener.fileno()}", f"--alive={writer}", "--app=none:none"]
        ran = subprocess.run(
            [sys.executable, "-m", "serving.server.worker", *descriptors],
            pass_fds=(listener.fileno(), writer),
            capture_output=True,
            timeout=60,
            check=False,
        )
    os.close(writer)
    assert ran.returncode == 1
    assert ran.stderr == b"not starting: the supervisor has exited\n"
