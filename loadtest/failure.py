"""The error that ends a load test without a verdict."""


class LoadtestFailed(RuntimeError):
    """The load could not be generated, so there is no verdict."""
