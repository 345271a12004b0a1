"""The outcome of one crop in a batch: a reading, or an error as a value."""

from typing import TypeVar

Error = TypeVar("Error", bound=Exception)


def without_frames(error: Error) -> Error:
    """The error without its traceback and causes, so that it can be stored as a value.

    A traceback refers to the frames that raised it. They refer to the whole batch and to the error,
    which makes a cycle that only the garbage collector frees; the collector runs rarely here
    (serving/build.py). The tests count what it would find.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
