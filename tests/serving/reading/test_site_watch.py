"""The watch's exchange with other processes ends when it is told to."""

import asyncio
from unittest.mock import Mock

import pytest

from serving.reading.site_watch import SiteWatch


@pytest.fixture
def watch():
    return SiteWatch(
        Mock(exchange=Mock(return_value=[])),
        Mock(version="7", expected_reject_share=0.03),
        may_hold=True,
        on_change=Mock(),
    )


async def test_the_exchange_ends_when_it_is_cancelled_in_the_moment_of_news(watch):
    exchange = asyncio.create_task(watch.run())
    await asyncio.sleep(0.01)  # it waits for news
    watch._has_news.set()
    exchange.cancel()
    done, _ = await asyncio.wait([exchange], timeout=1)
    assert done == {exchange}
    assert exchange.cancelled()
