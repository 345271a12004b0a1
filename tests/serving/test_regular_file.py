import os
from pathlib import Path

import pytest

from serving.regular_file import open_regular


def make_folder(path):
    path.mkdir()


def make_large(path):
    path.write_bytes(b"x" * 101)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(make_folder, "a directory"), (os.mkfifo, "a FIFO"), (make_large, "101 bytes")],
)
def test_what_is_no_small_file_is_refused_and_leaves_nothing_open(tmp_path, make, reason):
    """A key file is read again every two seconds."""
    make(tmp_path / "keys.json")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=reason):
        open_regular(tmp_path / "keys.json", 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
