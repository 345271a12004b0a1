"""What ends a load test without a verdict."""


class LoadtestFailed(RuntimeError):
    """The load could not be made, so nothing can be judged."""
