"""Where captures and reports are stored: a folder or a bucket, with the same methods.

In both, a write is complete or absent: in a folder a new file is renamed into place, S3 gets one
PUT and checks its SHA-256. Knows nothing about what it stores.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import boto3
import pyarrow.fs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from capture.segments import sync_folder

_DELETE_AT_ONCE: Final = 1000  # S3's limit
_TEMPORARY: Final = ".part-"
_TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict")  # HTTP 412 and 409


class StoreError(OSError):
    """The store failed; a retry may succeed."""


class MissingKey(StoreError):
    """Nothing is stored under this key."""


class KeyTaken(StoreError):
    """Something is stored under this key already; it was not touched."""


class Store(Protocol):
    """Keys are relative paths with ``/`` between their parts."""

    url: str

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store bytes under a key, replacing what was there. Raises StoreError."""

    def put_new(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store bytes where nothing is yet; of several writers one wins. Raises KeyTaken."""

    def get(self, key: str) -> bytes:
        """Read what is under a key. Raises MissingKey, StoreError."""

    def find(self, prefix: str) -> list[str]:
        """List the keys that start with a prefix ending in ``/``, in order. Raises StoreError."""

    def versions(self, prefix: str) -> dict[str, str]:
        """List as `find` does; each key with a text that changes when its content does."""

    def delete(self, keys: list[str]) -> None:
        """Remove keys; a missing key is no error. Raises StoreError."""

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return the Arrow filesystem for the same files, and this store's root in it."""


def open_store(url: str) -> Store:
    """Open ``s3://bucket/prefix`` or a folder, which is made when first written to.

    Raises:
        ValueError: another scheme, or nothing, which would be the working directory.
    """
    if not url.strip():
        raise ValueError("the place of a store is empty: give a folder or s3://bucket/prefix")
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return Bucket(bucket=parts.netloc, prefix=parts.path.strip("/"))
    if parts.scheme not in ("", "file"):
        raise ValueError(f"cannot store in {url!r}: give a folder or s3://bucket/prefix")
    return Folder(Path(parts.path))


class Folder:
    """A folder on a local or mounted disk."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.url = str(root)

    def put(self, key: str, data: bytes, *, content_type: str) -> None:  # noqa: ARG002 - S3's
        """Write to a temporary name, flush to disk, rename."""
        self._write(key, data, Path.replace)

    def put_new(self, key: str, data: bytes, *, content_type: str) -> None:  # noqa: ARG002 - S3's
        """Write to a temporary name, flush to disk, link: a link never replaces a file."""

        def link(temporary: Path, path: Path) -> None:
            path.hardlink_to(temporary)
            temporary.unlink()

        self._write(key, data, link)

    def _write(self, key: str, data: bytes, place: Callable[[Path, Path], object]) -> None:
        path = self._path(key)
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            place(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(error, FileExistsError):
                raise KeyTaken(f"{path} exists already") from error
            raise StoreError(f"cannot write {path}: {error}") from error

    def get(self, key: str) -> bytes:
        """Read a file whole."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise MissingKey(f"nothing at {self._path(key)}") from error
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error}") from error

    def find(self, prefix: str) -> list[str]:
        """Walk the folder; files that are still being written are left out."""
        return sorted(
            path.relative_to(self._root).as_posix()
            for path in self._path(prefix).rglob("*")
            if path.is_file() and not path.name.startswith(_TEMPORARY)
        )

    def versions(self, prefix: str) -> dict[str, str]:
        """Each file's inode, time and size: a file is only ever replaced by another one."""
        found = {}
        folders = [str(self._path(prefix))]
        while folders:
            with contextlib.suppress(FileNotFoundError):  # of a folder or file: deleted since
                for entry in os.scandir(folders.pop()):
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif not entry.name.startswith(_TEMPORARY):
                        seen = entry.stat()
                        key = Path(entry.path).relative_to(self._root).as_posix()
                        found[key] = f"{seen.st_ino}-{seen.st_mtime_ns}-{seen.st_size}"
        return dict(sorted(found.items()))

    def delete(self, keys: list[str]) -> None:
        """Remove files, and folders that become empty."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
                while (path := path.parent) != self._root and not any(path.iterdir()):
                    path.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"cannot remove {self._path(key)}: {error}") from error

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Arrow's local filesystem."""
        return pyarrow.fs.LocalFileSystem(), str(self._root)

    def _path(self, key: str) -> Path:
        return self._root / key


class Bucket:
    """A prefix in an S3 bucket. Needs s3:PutObject to ship; List, Get and Delete to read and erase.

    Credentials, region and endpoint come from the environment, as for every AWS tool.
    """

    def __init__(self, *, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._client: Any = boto3.client(
            "s3",
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """One PUT; S3 refuses it when the received bytes have another SHA-256."""
        self._put(key, data, content_type)

    def put_new(self, key: str, data: bytes, *, content_type: str) -> None:
        """One PUT that S3 refuses where the key exists, or another writer is at it."""
        self._put(key, data, content_type, IfNoneMatch="*")

    def _put(self, key: str, data: bytes, content_type: str, **condition: str) -> None:
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=data,
                ContentType=content_type,
                ChecksumSHA256=digest,
                **condition,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _TAKEN:
                raise KeyTaken(f"{self.url}/{key} exists already") from error
            raise StoreError(f"cannot write {self.url}/{key}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"cannot write {self.url}/{key}: {error}") from error

    def get(self, key: str) -> bytes:
        """Read an object whole."""
        try:
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)[
                "Body"
            ].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise MissingKey(f"nothing at {self.url}/{key}") from error
            raise StoreError(f"cannot read {self.url}/{key}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"cannot read {self.url}/{key}: {error}") from error
        return body

    def find(self, prefix: str) -> list[str]:
        """List a prefix, 1,000 keys a request."""
        return list(self.versions(prefix))

    def versions(self, prefix: str) -> dict[str, str]:
        """Each object's ETag."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        try:
            items = [item for page in pages for item in page.get("Contents", [])]
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"cannot list {self.url}/{prefix}: {error}") from error
        found = {item["Key"].removeprefix(self._prefix): item["ETag"] for item in items}
        return dict(sorted(found.items()))

    def delete(self, keys: list[str]) -> None:
        """Delete 1,000 keys a request."""
        for start in range(0, len(keys), _DELETE_AT_ONCE):
            objects = [{"Key": self._prefix + key} for key in keys[start : start + _DELETE_AT_ONCE]]
            try:
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            except (BotoCoreError, ClientError) as error:
                raise StoreError(f"cannot delete in {self.url}: {error}") from error
            if answer.get("Errors"):
                raise StoreError(f"cannot delete in {self.url}: {answer['Errors'][0]}")

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Arrow's S3 filesystem, which fetches only the columns that are read."""
        endpoint = urlsplit(self._client.meta.endpoint_url)
        filesystem = pyarrow.fs.S3FileSystem(
            region=self._client.meta.region_name,
            endpoint_override=endpoint.netloc,
            scheme=endpoint.scheme,
        )
        return filesystem, f"{self._bucket}/{self._prefix}".rstrip("/")
