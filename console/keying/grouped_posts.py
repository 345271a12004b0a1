"""Labels of several persons in one transaction.

A transaction, its write to the disk and its look-ups cost as much for ten labels as for one. While
one group is stored, the labels that arrive wait, and are the next group.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from console.keying.label_posts import Post, Write, store_labels
from console.keying.letter_store import writing
from console.visit import Console


@dataclass(slots=True)
class _Waiting:
    """A post, and what came of it."""

    post: Post
    reasons: list[str] | None = None
    error: Exception | None = None


class GroupedPosts:
    """Stores posts of concurrent requests together.

    Args:
        console: has the database.
        write: puts events on disk.
    """

    def __init__(self, console: Console, write: Write) -> None:
        self._console, self._write = console, write
        self._turn = threading.Lock()  # of storing
        self._adding = threading.Lock()
        self._waiting: list[_Waiting] = []

    def store(self, post: Post) -> list[str]:
        """Store a person's labels; returns for each why it is refused, empty if it is stored.

        Raises:
            SpoolError, SQLAlchemyError: none of this post is stored.
        """
        own = _Waiting(post)
        with self._adding:
            self._waiting.append(own)
        with self._turn:
            if own.reasons is None and own.error is None:
                with self._adding:
                    group, self._waiting = self._waiting, []
                self._store(group)
        if own.error is not None:
            raise own.error
        assert own.reasons is not None
        return own.reasons

    def _store(self, group: list[_Waiting]) -> None:
        try:
            with writing(self._console) as database:
                found = store_labels(database, self._write, [one.post for one in group])
        except Exception as error:  # noqa: BLE001  # it is raised, by the thread of its post
            if len(group) == 1:
                group[0].error = error
                return
            for one in group:  # an event that is written twice has the same id, and counts once
                self._store([one])
            return
        for one, reasons in zip(group, found, strict=True):
            one.reasons = reasons
