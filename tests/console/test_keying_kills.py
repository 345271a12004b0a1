"""SIGKILL of a real console while labels are posted loses none that was acknowledged."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from keyed_mail import letter, store
from own_console import sign_in
from sqlalchemy import select

from capture.follow import SpoolFollower
from capture.label_event import LabelEvent
from console.keying.feeder import Feeder
from console.tables import CropRow

ROOT = Path(__file__).parents[2]
NUM_KEYERS, NUM_LETTERS = 3, 400


def key_until_killed(client, number, acknowledged):
    """Key letters, one label at a time; stops when nobody answers."""
    rng = random.Random(number)
    try:
        while given := client.get("/keying/letters?num=20").json()["letters"]:
            for one in given:
                when_us = time.time_ns() // 1000
                label = {"read_id": one["read_id"], "crop_index": 0, "when_us": when_us}
                label["label"] = str(rng.randrange(10))
                answer = client.post("/keying/labels", json={"labels": [label]}).json()
                if answer["results"][0]["status"] == "stored":
                    acknowledged.append((one["read_id"], label["label"], when_us))
    except httpx.HTTPError:
        return


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [1, 25, 90])
def test_a_kill_loses_no_label_that_was_acknowledged(console, start_console, kill_after):
    store(console, *(letter("?") for _ in range(NUM_LETTERS)))
    process, url, key = start_console()
    clients = [sign_in(console, url, key, f"p{number}") for number in range(NUM_KEYERS)]
    acknowledged = []

    def kill_in_time():
        give_up = time.monotonic() + 60
        while len(acknowledged) < kill_after and time.monotonic() < give_up:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_in_time)
    killer.start()
    with ThreadPoolExecutor(NUM_KEYERS) as pool:
        list(pool.map(lambda n: key_until_killed(clients[n], n, acknowledged), range(NUM_KEYERS)))
    killer.join()
    for client in clients:
        client.close()
    assert process.wait() == -signal.SIGKILL
    assert len(acknowledged) >= kill_after
    spool = SpoolFollower(console.settings.capture.spool)
    found = [one for some in spool.read_new() for one in some]
    on_disk = {(one.read_id, one.label, one.when_us) for one in found}
    assert all(isinstance(one, LabelEvent) for one in found)
    assert set(acknowledged) <= on_disk
    # What was on disk but not in the database is in it after the next start.
    feeder = Feeder(console)
    feeder.look()
    feeder.look()
    with console.transaction() as database:
        keyed = set(database.scalars(select(CropRow.read_id).where(CropRow.num_wanted >= 2)))
        keyed |= set(database.scalars(select(CropRow.read_id).where(CropRow.label.is_not(None))))
    assert {read_id for read_id, _, _ in on_disk} <= keyed
