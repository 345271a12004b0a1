"""What the keying pages share: the spool that labels go into and the directory of valid codes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from capture.frames import add_head
from capture.label_event import LabelEvent, encode
from capture.spool import Spool
from console.keying.grouped_posts import GroupedPosts
from console.visit import Console
from serving.api.codes import Postcodes, load_postcodes


class KeyingRoom:
    """Made once at start.

    Args:
        console: what every page uses.

    Raises:
        PostcodesError: the directory of codes is unfit.
    """

    def __init__(self, console: Console) -> None:
        service = console.settings.service
        self.console = console
        self.codes: Postcodes | None = (
            load_postcodes(service.postcodes) if service.postcodes else None
        )
        self._fsync = service.capture_fsync
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self.posts = GroupedPosts(console, self.write)

    def write(self, events: Sequence[LabelEvent]) -> None:
        """Put label events on disk.

        Raises:
            SpoolError: not all of them are; none may be acknowledged.
        """
        with self._lock:
            if self._spool is None:  # a console that nobody keys at needs no spool
                self._spool = Spool(self.console.settings.capture.spool, fsync=self._fsync)
            spool = self._spool
        spool.append_frames([add_head(encode(event)) for event in events])

    def close(self) -> None:
        """Finish the segment of labels, so that it is shipped now."""
        with self._lock:
            if self._spool is not None:
                self._spool.close()
