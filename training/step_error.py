"""The error of a step."""


class StepError(RuntimeError):
    """A step cannot run, or its result must not be used; the message says why."""
