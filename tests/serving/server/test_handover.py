"""What a killed supervisor leaves behind: its port, and its folder of metrics."""

import os
import socket
import threading
from pathlib import Path

import pytest

from serving.server import supervisor
from serving.server.handover import bind, make_locked_folder, remove_stale_folders


def test_a_folder_of_a_living_process_is_kept(tmp_path):
    folder, lock = make_locked_folder(tmp_path)
    assert remove_stale_folders(tmp_path) == []
    assert Path(folder).is_dir()
    os.close(lock)


def test_a_folder_that_no_process_holds_is_removed(tmp_path):
    folder, lock = make_locked_folder(tmp_path)
    os.close(lock)
    assert remove_stale_folders(tmp_path) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_worker_still_holds_is_kept(tmp_path):
    folder, lock = make_locked_folder(tmp_path)
    inherited = os.dup(lock)
    os.close(lock)
    assert remove_stale_folders(tmp_path) == []
    os.close(inherited)
    assert remove_stale_folders(tmp_path) == [folder]


def test_folders_of_others_are_kept(tmp_path):
    (tmp_path / "digits-metrics-abc").mkdir()
    (tmp_path / "other").mkdir()
    assert remove_stale_folders(tmp_path) == []


@pytest.fixture
def held():
    """A port that another process serves."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a worker's
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def answer_one(listener):
    """Answer one request as a draining worker does."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx-model-version: 5\r\ncontent-length: 0\r\n\r\n")


def test_a_port_that_old_workers_leave_is_bound(held, capfd):
    port = held.getsockname()[1]
    worker = threading.Thread(target=answer_one, args=(held,))
    worker.start()
    release = threading.Timer(0.5, held.close)
    release.start()
    supervisor._bind("127.0.0.1", port, 20.0).close()
    release.join()
    worker.join()
    assert capfd.readouterr().err.count("port in use; waiting for it") == 1


def test_a_port_that_old_workers_do_not_leave_is_given_up(held):
    worker = threading.Thread(target=answer_one, args=(held,))
    worker.start()
    with pytest.raises(OSError, match="in use"):
        supervisor._bind("127.0.0.1", held.getsockname()[1], 0.3)
    worker.join()


def test_a_port_of_a_stranger_is_refused_at_once(held, monkeypatch):
    monkeypatch.setattr("serving.server.handover.ANSWERS_WITHIN_S", 0.1)
    with pytest.raises(OSError, match="in use"):
        supervisor._bind("127.0.0.1", held.getsockname()[1], 1000.0)


def test_an_address_of_another_machine_is_not_waited_for():
    with pytest.raises(OSError, match="assign"):
        supervisor._bind("192.0.2.1", 0, 1000.0)


def test_a_connection_has_a_small_send_buffer():
    with bind("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 65_536
