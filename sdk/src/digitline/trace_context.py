"""The caller's OpenTelemetry context, as headers."""

import importlib.util
from collections.abc import Callable


def load_trace_headers() -> Callable[[], dict[str, str]]:
    """What gives `traceparent` and the other headers of the configured propagators.

    Without opentelemetry installed it gives none. Importing it takes longer than a read, so this
    is done once, when a client is made.
    """
    if importlib.util.find_spec("opentelemetry") is None:
        return dict
    try:
        from opentelemetry import propagate
    except ImportError:  # other packages have this namespace, too
        return dict

    def trace_headers() -> dict[str, str]:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers

    return trace_headers
