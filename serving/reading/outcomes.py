"""The outcome of one crop in a batch: a reading, or an error as a value."""

from typing import TypeVar

Error = TypeVar("Error", bound=Exception)


def without_frames(error: Error) -> Error:
    """The error without its traceback and causes, to be kept as a value.

    A traceback holds the frames that raised it, and they hold the whole batch and the error itself:
    a cycle that only the garbage collector would free.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
