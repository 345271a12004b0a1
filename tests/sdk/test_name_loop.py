"""Names: one look-up at a time, and the last addresses while the resolver is gone."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from digitline import name_loop
from digitline.name_loop import NameLoop

PATIENCE_S = 20  # only a broken test waits this long


class Resolver:
    """Answers when `may_answer` is set; `answer` may be an error."""

    def __init__(self):
        self.answer = "10.0.0.1"
        self.num_asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, host, port, *rest, **more):
        answer, may_answer = self.answer, self.may_answer
        self.num_asked += 1
        assert may_answer.wait(PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]


@pytest.fixture
def resolver(monkeypatch):
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.may_answer.set()


def run(main):
    with asyncio.Runner(loop_factory=NameLoop) as runner:
        return runner.run(main())


async def look_up():
    found = await asyncio.get_running_loop().getaddrinfo("digits.test", 80)
    return found[0][4][0]


@pytest.fixture
def patience(monkeypatch):
    """A resolver that answers is never too slow, however busy this machine is."""
    monkeypatch.setattr(name_loop, "PATIENCE_S", PATIENCE_S)


def test_a_name_that_is_found_is_looked_up_each_time(resolver, patience):
    async def main():
        first = await look_up()
        resolver.answer = "10.0.0.2"
        return first, await look_up()

    assert run(main) == ("10.0.0.1", "10.0.0.2")


def test_a_resolver_that_fails_leaves_the_last_address(resolver, patience):
    async def main():
        await look_up()
        resolver.answer = socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return await look_up()

    assert run(main) == "10.0.0.1"


def test_while_a_resolver_is_silent_the_last_address_is_used(resolver, monkeypatch):
    async def main():
        await look_up()
        monkeypatch.setattr(name_loop, "PATIENCE_S", 0.001)
        resolver.answer = "10.0.0.2"
        resolver.may_answer.clear()
        meanwhile = [await look_up() for _ in range(3)]
        resolver.may_answer.set()
        monkeypatch.setattr(name_loop, "PATIENCE_S", PATIENCE_S)
        return meanwhile, await look_up()  # shares the look-up that was silent

    assert run(main) == (["10.0.0.1"] * 3, "10.0.0.2")


def test_a_name_that_was_never_found_is_an_error(resolver):
    resolver.answer = socket.gaierror(socket.EAI_NONAME, "not known")
    with pytest.raises(socket.gaierror):
        run(look_up)


def test_look_ups_at_the_same_time_are_one_and_giving_one_up_leaves_the_others(resolver):
    async def main():
        resolver.may_answer.clear()
        waiting = [asyncio.create_task(look_up()) for _ in range(50)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.sleep(0)
        resolver.may_answer.set()
        return await asyncio.gather(*waiting[1:])

    assert run(main) == ["10.0.0.1"] * 49
    assert resolver.num_asked == 1


def test_a_look_up_that_hangs_is_asked_again(resolver, monkeypatch):
    async def main():
        monkeypatch.setattr(name_loop, "RENEW_S", 0.0)
        resolver.may_answer.clear()
        hanging = asyncio.create_task(look_up())
        while not resolver.num_asked:  # noqa: ASYNC110  another thread asks
            await asyncio.sleep(0.001)
        resolver.may_answer, hung = threading.Event(), resolver.may_answer
        resolver.may_answer.set()
        found = await look_up()
        hung.set()
        return found, await hanging

    assert run(main) == ("10.0.0.1", "10.0.0.1")
    assert resolver.num_asked == 2


AFTER_MAIN = """
import asyncio, threading
from digitline.name_loop import NameLoop

async def look_up():
    return (await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80))[0][4][0]

def read():
    threading.main_thread().join()
    with asyncio.Runner(loop_factory=NameLoop) as runner:
        print(runner.run(look_up()))

threading.Thread(target=read).start()
"""


def test_names_are_found_after_the_main_thread_has_ended():
    """asyncio's own look-ups raise RuntimeError then."""
    sdk = Path(__file__).parents[2] / "sdk" / "src"
    command = [sys.executable, "-c", AFTER_MAIN]
    said = subprocess.run(
        command, env={"PYTHONPATH": str(sdk)}, capture_output=True, text=True, timeout=60
    )
    assert (said.stdout, said.stderr) == ("127.0.0.1\n", "")
