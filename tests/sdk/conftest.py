"""Retries are not logged here: tests make hundreds of them."""

import pytest
import stamina


@pytest.fixture(autouse=True)
def no_retry_log():
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
