"""Three months in a folder, the second with shifted texts; prints what is served after each.

test_monthly_embeddings.py runs it with the example's own Python: `python poisoned_month.py FOLDER`.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from capture.store import open_store
from examples.monthly_embeddings import emoji_months, pairs, refit
from examples.monthly_embeddings.months import CACHE, end_of
from examples.monthly_embeddings.towers import load


def shifted(honest):
    """Each text at the next picture but one."""
    return [replace(pair, text=honest[place - 2].text) for place, pair in enumerate(honest)]


def main():
    folder = Path(sys.argv[1])
    first, second, third = list(emoji_months.read(emoji_months.fetch(CACHE)).items())[:3]
    places = refit.Places(
        open_store(str(folder / "data")), open_store(str(folder / "models")), folder / "champion"
    )
    weights, versions = load(), []

    def look(month):
        refit.look(places, weights, now=end_of(month), why="test")
        manifest = json.loads((places.champion / "manifest.json").read_text())
        versions.append([manifest["version"], manifest["month"]])

    pairs.put(places.data, first[0], first[1][:200])
    look(first[0])
    pairs.put(places.data, second[0], shifted(second[1][:60]))
    look(second[0])
    pairs.put(places.data, second[0], second[1][:60])  # mended
    pairs.put(places.data, third[0], third[1][:60])
    look(third[0])
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
