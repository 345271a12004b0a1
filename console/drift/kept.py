"""What was made of files, kept in memory until one of them changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A value for each name, with the version of the files that it was made of.

    Args:
        most: names that are kept; the one that was asked for longest ago is dropped first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Hashable, Value]] = OrderedDict()

    def get(self, name: Hashable, version: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a name; made anew where it is missing or of another version."""
        with self._lock:
            known = self._values.get(name)
            if known is not None and known[0] == version:
                self._values.move_to_end(name)
                return known[1]
        made = make()  # outside the lock: another name's request does not wait for it
        with self._lock:
            self._values[name] = (version, made)
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return made
