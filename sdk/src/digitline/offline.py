"""Reads without the network: the fallback of a client, and what the service says afterwards.

with Offline(url, key, spool="reads.db") as offline:
    with Digitline(url, key, fallback=offline.read) as scanner:
        reading = scanner.read(crop)  # reading.source is "service" or "local"
    print(offline.while_you_were_away())
"""

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from digitline.answers import Reading
from digitline.away import Away
from digitline.calls import SHAPE_ERRORS
from digitline.drain import Drain
from digitline.exceptions import OfflineUnavailable, Unanswered
from digitline.local_reader import LocalReader, Rules
from digitline.offline_spool import OfflineSpool
from digitline.service_link import ServiceLink

_ASK_EVERY_S: Final = 60.0  # for the service's rules
_NOTE: Final = "model"
MOST_LATE: Final = 1000  # reads in memory that the file did not take, 2 MB or so

Late = tuple[bytes, Reading, str | None]  # what `OfflineSpool.add` takes

_log: Final = logging.getLogger("digitline")


class Offline:
    """Reads with the model in this wheel what the service did not answer in time.

    Local reads are kept in a file, and a thread sends them to the service when it answers. A local
    read is accepted only while the service's rules, as they were last seen, are the wheel's: the
    same model and the same thresholds. Else it is rejected because of "rules_unconfirmed".

    Give `read` to a client as its fallback, and close this after the client.

    Args:
        url: of the service.
        key: of the site; None: the service asks for none.
        spool: the file; it is made if it is not there.
        max_bytes: of the file's content; beyond it the oldest reads are dropped and counted.
        max_age_s: older reads are dropped and counted.
        drain_per_s: reads sent to the service in a second at most.
        transport: in place of the network, for tests.

    Raises:
        OfflineUnavailable: `digitline[offline]` is not installed, or its model or the file is not
            in order.
        ValueError: the address, the key or the rate cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        spool: str | Path,
        max_bytes: int = 256_000_000,
        max_age_s: float = 7 * 86_400.0,
        drain_per_s: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._reader = LocalReader()
        self._is_confirmed = False
        self._late: deque[Late] = deque()  # the file did not take them: a full disk, a lock
        self._num_lost = 0  # of them: too many waited
        self._arguments: tuple[Any, ...] = (url, key, Path(spool), max_bytes, max_age_s)
        self._drain_per_s = drain_per_s
        self._transport = transport
        self._of_parents: list[object] = []
        self._open()

    def read(self, crop: bytes, error: Unanswered) -> Reading:
        """Read a crop here: the `fallback` of a client.

        Args:
            crop: a PNG or JPEG file.
            error: why the service gave no answer.

        Raises:
            CropRefused: the crop cannot be read, here as there.
            OfflineUnavailable: the model failed.
        """
        self._reopen_after_fork()
        reading = self._reader.read(crop, error.request_id or self._link.new_id())
        if reading.accepted and not self._is_confirmed:
            reading = replace(reading, accepted=False, rejected_because="rules_unconfirmed")
        try:
            while not self._spool.add(crop, reading, _sent_key(error, reading.request_id)):
                reading = replace(reading, request_id=self._link.new_id())  # others of its bundle
        except sqlite3.Error as failure:
            _log.warning("a read made offline is not in the file yet: %s", failure)
            self._late.append((crop, reading, _sent_key(error, reading.request_id)))
            if len(self._late) > MOST_LATE:
                self._late.popleft()
                self._num_lost += 1
        return reading

    @property
    def num_not_kept(self) -> int:
        """Reads that were answered and are not in the file: they wait for it, or are lost."""
        return len(self._late) + self._num_lost

    def while_you_were_away(self) -> Away:
        """What the service says of the local reads that it has seen since the last `dismiss`."""
        self._reopen_after_fork()
        return self._spool.away()

    def dismiss(self, away: Away) -> None:
        """Forget what a report was made of, when somebody has dealt with it."""
        self._reopen_after_fork()
        self._spool.dismiss(away)

    def read_id_of(self, request_id: str) -> str | None:
        """The service's read id of a local read, for its label; None: it has none yet."""
        self._reopen_after_fork()
        return self._spool.read_id_of(request_id)

    def close(self) -> None:
        """Stop sending; what waits stays in the file."""
        if self._pid == os.getpid():
            self._drain.close()
            self._link.close()
            try:
                self._add_late()
            except sqlite3.Error as error:
                _log.error("%d reads made offline are lost: %s", len(self._late), error)
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        url, key, path, max_bytes, max_age_s = self._arguments
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._spool = OfflineSpool(path, max_bytes=max_bytes, max_age_s=max_age_s)
        self._link = ServiceLink(url, key, transport=self._transport)
        self._asked_at = -_ASK_EVERY_S
        if (known := self._spool.noted(_NOTE)) is not None:
            self._compare(known)
        self._drain = Drain(
            self._spool, self._link, per_s=self._drain_per_s, before_step=self._before_step
        )
        self._drain.start()

    def _reopen_after_fork(self) -> None:
        """SQLite's files and threads do not survive a fork: the child opens its own."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._of_parents += [self._spool, self._link, self._drain]
                    self._open()

    def _before_step(self) -> None:
        self._add_late()
        self._ask_for_rules()

    def _add_late(self) -> None:
        """Try the file again. Raises sqlite3.Error: it takes nothing yet."""
        while self._late:
            self._spool.add(*self._late[0])  # before it leaves the memory
            self._late.popleft()

    def _ask_for_rules(self) -> None:
        if time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return
        model = self._link.model()
        self._asked_at = time.monotonic()
        known = {name: model[name] for name in ("version", "sha256", "thresholds")}
        self._compare(known)
        self._spool.note(_NOTE, known)

    def _compare(self, model: dict[str, Any]) -> None:
        """Accept as the service does, or not at all."""
        try:
            self._reader.set_error_target(float(model["thresholds"]["error_target"]))
            is_same = self._reader.rules == Rules.of_service(model)
        except (OfflineUnavailable, *SHAPE_ERRORS) as error:
            _log.warning("the service's rules are not this wheel's: %s", error)
            is_same = False
        if self._is_confirmed and not is_same:
            _log.warning(
                "the service reads with model %s, this wheel has %s or other thresholds; local "
                "reads are not accepted until the digitline of that version is installed",
                model.get("version"),
                self._reader.model_version,
            )
        self._is_confirmed = is_same


def _sent_key(error: Unanswered, request_id: str) -> str | None:
    """The key of the request that carried this read alone; "": another one did; None: none did."""
    if error.num_sent == 0:
        return None
    return error.sent_key if error.sent_key == request_id else ""
