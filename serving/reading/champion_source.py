"""Where the champion is: a folder, or a prefix in S3. Reads its files; judges nothing."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from model.champion_files import FileRules, read_files
from model.errors import ModelError
from serving.aws_signature import OPENER, TIMEOUT_S, find_credentials, sign
from serving.config import ConfigError

S3: Final = "s3://"
_FOLDER_EVERY_S: Final = 2.0  # 300 KB from the page cache
_S3_EVERY_S: Final = 20.0  # three requests, answered 304 while nothing has changed
_EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_NOT_MODIFIED, _NOT_FOUND = 304, 404
_SHOWN_CHARS: Final = 200  # of a place


class ChampionSource(Protocol):
    """Reads the champion's files again and again."""

    url: str
    every_s: float  # between two looks

    def read(self) -> dict[str, bytes]:
        """The files that serving needs, as they are now; one that is not there is absent.

        Raises:
            OSError: the source cannot be reached.
            ValueError: an answer of it is malformed.
        """


def open_source(where: str, rules: FileRules) -> ChampionSource:
    """The source that DIGITS_CHAMPION names.

    Args:
        where: a folder, or s3://BUCKET/PREFIX.
        rules: which files are read, and how large they may be.

    Raises:
        ConfigError: it names none.
    """
    if not where.startswith(S3):
        return FolderSource(Path(where), rules)
    bucket, _, prefix = where.removeprefix(S3).partition("/")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not bucket or not prefix.strip("/"):
        raise ConfigError(f"DIGITS_CHAMPION={where}: write it as s3://BUCKET/PREFIX")
    if not region:
        raise ConfigError(f"DIGITS_CHAMPION={where}: set AWS_REGION to the bucket's region")
    return S3Source(bucket, prefix.strip("/"), region, rules)


@contextmanager
def refusing_unfit(source: ChampionSource) -> Iterator[None]:
    """What is wrong with the champion at start, told with its place and the setting.

    Raises:
        ConfigError: it cannot be read, or is unfit.
    """
    try:
        yield
    except (OSError, ValueError, ModelError) as error:
        raise ConfigError(
            f"the champion at {source.url[:_SHOWN_CHARS]!r} cannot be served: {error}; check "
            "DIGITS_CHAMPION, and for S3 the credentials and the network"
        ) from error


class FolderSource:
    """A champion folder, found by its path at each look: a promotion renames another one to it."""

    every_s = _FOLDER_EVERY_S

    def __init__(self, folder: Path, rules: FileRules) -> None:
        self.url = str(folder)
        self._rules = rules
        self._folder = folder

    def read(self) -> dict[str, bytes]:
        """The files of the folder that has the name now."""
        return read_files(self._folder, self._rules)


class S3Source:
    """A champion folder's files under a prefix of a bucket.

    Several files are no single object: upload manifest.json last. Between the uploads the hash in
    the manifest does not match the model, and the champion in service stays.
    """

    every_s = _S3_EVERY_S

    def __init__(self, bucket: str, prefix: str, region: str, rules: FileRules) -> None:
        self._rules = rules
        self.url = f"{S3}{bucket}/{prefix}"
        self._path = f"/{bucket}/{prefix}"
        self._region = region
        self._known: dict[str, tuple[str, bytes]] = {}  # file -> entity tag and content

    def read(self) -> dict[str, bytes]:
        """The files; of those that have not changed, the content that is known."""
        found = {name: self._read(f"{self._path}/{name}", name) for name in self._rules.names}
        return {name: content for name, content in found.items() if content is not None}

    def _read(self, path: str, name: str) -> bytes | None:
        known = self._known.get(name)
        endpoint = (
            os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
            or f"https://s3.{self._region}.amazonaws.com"
        )
        headers = {"host": urlsplit(endpoint).netloc, "x-amz-content-sha256": _EMPTY_SHA256}
        if known is not None:
            headers["if-none-match"] = known[0]
        signed = sign(
            headers,
            b"",
            credentials=find_credentials(),
            region=self._region,
            now=datetime.now(UTC),
            service="s3",
            method="GET",
            path=path,
        )
        request = urllib.request.Request(f"{endpoint.rstrip('/')}{quote(path)}", headers=signed)  # noqa: S310
        try:
            with OPENER.open(request, timeout=TIMEOUT_S) as answer:
                limit = self._rules.max_bytes + 1
                content: bytes = answer.read(limit)
                size = int(answer.headers["content-length"])
                # A connection that breaks ends the content early. Kept with its entity tag, it
                # would stay: later answers are 304.
                if len(content) < min(size, limit):
                    raise OSError(f"{self.url}/{name} ended after {len(content)} of {size} bytes")
                self._known[name] = (answer.headers["etag"], content)
                return content
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_MODIFIED and known is not None:
                    return known[1]
                if error.code == _NOT_FOUND:
                    return None
                reason = error.read(500).decode(errors="replace")
            raise OSError(f"{error.code} from {self.url}/{name}: {reason}") from error
