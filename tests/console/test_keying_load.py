"""50 people who key twice a second at one console on one core: no label is lost.

It prints what it measures; the time depends on the machine, so it is not asserted:
python -m pytest -s -m nightly tests/console/test_keying_load.py
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import httpx
import pytest
from keyed_mail import letter, store
from own_console import sign_in

from capture.follow import SpoolFollower

NUM_KEYERS, PERIOD_S, NUM_KEYS = 50, 0.5, 40  # keys of each
PATIENCE_S = 600  # a console that answers nobody ends the test
ARRIVE_S = 5.0  # they begin one after the other
REFILL_BELOW = 16  # keying_letters.js


async def key(url, signed_in, number, took_s):
    """One keyer: a label each half second, whenever the answer to the last one comes."""
    headers = {"x-csrf-token": signed_in.headers["x-csrf-token"]}
    cookies = dict(signed_in.cookies)
    stored = []
    async with httpx.AsyncClient(
        base_url=url, headers=headers, cookies=cookies, timeout=60
    ) as client:
        letters, sending = {}, []
        next_s = time.perf_counter() + number / NUM_KEYERS * ARRIVE_S

        async def ask(method, path, **body):
            """As the page: again where an idle connection was closed or the console is busy."""
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.request(method, path, **body)
                    if answer.status_code != 503:
                        return answer.json()
                await asyncio.sleep(0.1)

        async def send(read_id):
            row = {"read_id": read_id, "crop_index": 0, "label": "7"}
            row["when_us"] = time.time_ns() // 1000
            began_s = time.perf_counter()
            answer = await ask("POST", "/keying/labels", json={"labels": [row]})
            took_s.append(time.perf_counter() - began_s)
            if answer["results"][0]["status"] == "stored":  # else its lease had ended
                stored.append(read_id)

        async def fetch():
            has = ",".join(letters)
            answer = await ask("GET", f"/keying/letters?num=20&has={has}")
            letters.update(
                {one["read_id"]: one for one in answer["letters"] if one["read_id"] not in keyed}
            )

        await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
        keyed, fetching = set(), asyncio.create_task(fetch())
        for _ in range(NUM_KEYS):
            while not letters:
                await fetching
                fetching = fetching if letters else asyncio.create_task(fetch())
            await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
            next_s += PERIOD_S
            read_id = next(iter(letters))
            del letters[read_id]
            keyed.add(read_id)
            sending.append(asyncio.create_task(send(read_id)))
            if len(letters) < REFILL_BELOW and fetching.done():  # as the page does
                fetching = asyncio.create_task(fetch())
        await fetching
        await asyncio.gather(*sending)
    return stored


def cpu_s(pid):
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.nightly
def test_fifty_keyers_at_two_keys_a_second_lose_no_label(console, start_console):
    store(console, *(letter("?") for _ in range(NUM_KEYERS * (NUM_KEYS + 20))))
    process, url, secret = start_console()
    cores = sorted(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores[-1:])
    people = [sign_in(console, url, secret, f"p{number}") for number in range(NUM_KEYERS)]
    took_s, before_s, began_s = [], cpu_s(process.pid), time.perf_counter()

    async def all_of_them():
        return await asyncio.gather(
            *(key(url, one, number, took_s) for number, one in enumerate(people))
        )

    stored = [
        one for some in asyncio.run(asyncio.wait_for(all_of_them(), PATIENCE_S)) for one in some
    ]
    wall_s, busy_s = time.perf_counter() - began_s, cpu_s(process.pid) - before_s
    for one in people:
        one.close()
    in_order = sorted(took_s)
    print(
        f"\n{len(stored)} of {len(in_order)} labels stored in {wall_s:.1f} s: p50 "
        f"{in_order[len(in_order) // 2] * 1e3:.0f} ms, p99 "
        f"{in_order[int(len(in_order) * 0.99)] * 1e3:.0f} ms; the console's processor time "
        f"{busy_s / len(in_order) * 1e3:.1f} ms a label with its picture, load average of the "
        f"machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    spool = SpoolFollower(console.settings.capture.spool)
    found = [one for some in spool.read_new() for one in some]
    assert stored  # what was acknowledged, and nothing else
    assert sorted(stored) == sorted(one.read_id for one in found)
