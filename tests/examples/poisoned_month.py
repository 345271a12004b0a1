"""Three months, the second with shifted texts, the third killed twice; prints what is served.

test_monthly_embeddings.py runs it with the example's own Python:
`python poisoned_month.py FOLDER DATA`, where DATA is a folder or s3://.
"""

import json
import sys
import threading
from argparse import Namespace
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from capture.store import open_store
from examples.monthly_embeddings import each_month, emoji_months, pairs
from examples.monthly_embeddings.months import CACHE, end_of
from monitoring import retrain_schedule

# A refit that is killed as soon as it writes a file of this name.
KILLED = """
import os, signal, sys
sys.argv = ["refit", *sys.argv[2:]]
name = {name!r}
def watch(event, details):
    if event == "open" and str(details[0]).endswith(name) and str(details[1]).startswith("w"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from examples.monthly_embeddings.refit import main
raise SystemExit(main())
"""


def shifted(honest):
    """Each text at the next picture but one."""
    return [replace(pair, text=honest[place - 2].text) for place, pair in enumerate(honest)]


def main():
    folder, data = Path(sys.argv[1]), sys.argv[2]
    first, second, third = list(emoji_months.read(emoji_months.fetch(CACHE)).items())[:3]
    options = Namespace(
        data=data,
        store=f"{data}-models",
        champion=folder / "champion",
        work=folder / "work",
        why="test",
    )
    locations, job = each_month.schedule(options)
    arrivals, versions = open_store(data), []

    def look(month, *, hours=0, killed_at=""):
        command = (sys.executable, "-c", KILLED.format(name=killed_at), "refit")
        now = end_of(month) + timedelta(hours=hours)
        due = retrain_schedule.look(
            locations,
            replace(job, command=command) if killed_at else job,
            threading.Event(),
            now=lambda: now,
        )
        assert due is None, due
        manifest = json.loads((options.champion / "manifest.json").read_text())
        versions.append([manifest["version"], manifest["month"]])

    pairs.put(arrivals, first[0], first[1][:200])
    look(first[0])
    pairs.put(arrivals, second[0], shifted(second[1][:60]))
    look(second[0])
    pairs.put(arrivals, second[0], second[1][:60])  # mended
    pairs.put(arrivals, third[0], third[1][:60])
    look(third[0], killed_at="verdict.json")
    look(third[0], hours=2, killed_at="outcome.json")  # which is after the switch
    look(third[0], hours=4)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
