"""Debian's package index as rows: name and description -> section. Edge: runs apt, reads files."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.text_pattern.product_text import Product

SUITE: Final = "Debian 12.15 (bookworm), main, amd64"
# Of the uncompressed file, as the signed InRelease of 2026-07-11 has it.
SHA256: Final = "515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f"
MIN_ROWS: Final = 100  # of a section; smaller ones are left out
TEST_SHARE: Final = 0.2
_FIELDS: Final = re.compile(r"^(Package|Description|Section|Source): (.*)$", re.MULTILINE)
_OPENERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


class IndexRefused(RuntimeError):
    """The package index is not the pinned one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One package."""

    product: Product
    section: str
    is_test: bool


def load_rows(packages: Path | None) -> list[Row]:
    """The rows of the pinned index, in its order.

    Args:
        packages: the index, plain, .gz or .xz; None: the one that apt has.

    Raises:
        IndexRefused: it is not there, or another one.
    """
    candidates = [packages] if packages else _apt_files()
    for path in candidates:
        data = _read(path)
        if hashlib.sha256(data).hexdigest() == SHA256:
            return to_rows(data.decode())
    raise IndexRefused(
        f"none of {[str(path) for path in candidates]} is the index of {SUITE}, whose sha256 is "
        f"{SHA256}; run `apt-get update` on that release, or give the file with --packages"
    )


def _apt_files() -> list[Path]:
    command = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise IndexRefused(f"apt cannot be asked: {error}; give the file with --packages") from None
    return [Path(line) for line in listed.splitlines()]


def _read(path: Path) -> bytes:
    if opener := _OPENERS.get(path.suffix):
        return opener(path.read_bytes())
    if path.exists() and path.suffix != ".lz4":
        return path.read_bytes()
    return subprocess.run(  # apt keeps its files compressed as it likes
        ["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, check=True
    ).stdout


def to_rows(text: str) -> list[Row]:
    """Read an index. Packages of one source are all in the test part, or none is.

    They often share words of name and description, so a split by package would show a model
    what it is tested on.
    """
    found = list(_packages(text))
    num_rows = Counter(section for *_, section in found)
    return [
        Row(product, section, is_test=_share(source) < TEST_SHARE)
        for source, product, section in found
        if num_rows[section] >= MIN_ROWS
    ]


def _packages(text: str) -> Iterator[tuple[str, Product, str]]:
    for paragraph in text.split("\n\n"):
        fields = dict(_FIELDS.findall(paragraph))
        if {"Package", "Description", "Section"} <= set(fields):
            source = str(fields.get("Source", fields["Package"])).split()[0]
            product = Product(fields["Package"], fields["Description"])
            yield source, product, fields["Section"]


def _share(source: str) -> float:
    """A number in [0, 1) that is the same for every package of a source, in every release."""
    return int(hashlib.sha256(source.encode()).hexdigest()[:8], 16) / 16**8
