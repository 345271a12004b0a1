"""Search for the file that takes longest to decode: `python -m tests.fuzz.decode_time`.

Climbs from the seeds of costly_seeds.py: a change of one choice is kept when its file takes longer.
Prints the worst files with their CPU time and prediction, and fails if one takes over 150 ms, with
what a shared processor adds, or longer than the decoder's budget for its prediction. CPU time is
measured, the smaller of two runs, because other programs disturb the wall clock.
"""

import argparse
import sys
import time

import numpy as np

from model.decode import BUDGET_FACTOR, BUDGET_MS, decode
from model.decode_cost import MAX_DECODE_MS, predict_decode_ms
from model.errors import BlankCrop, CropError
from model.metered import OVERSHOOT_MS
from model.preprocess import preprocess
from tests.fuzz.costly_seeds import SEEDS, Costly

MAX_FILE_BYTES = 2_097_152
NOISE = 1.3  # CPU time on a shared processor
NUM_KEPT = 8  # places that the search climbs from
NUM_SHOWN = 5


def cpu_ms(data: bytes) -> tuple[float, str]:
    """CPU time of decoding and framing, and what came of it."""
    times, outcome = [], ""
    for _ in range(2):
        started = time.thread_time()
        try:
            crop = decode(data)
            outcome = f"{crop.shape[1]}x{crop.shape[0]} px"
            preprocess(crop)
        except BlankCrop:
            outcome += ", blank"
        except CropError as error:
            outcome = str(error)[:60]
        times.append((time.thread_time() - started) * 1e3)
    return min(times), outcome


def climb(seconds: float, seed: int) -> list[tuple[float, float, str, Costly]]:
    """The costliest files found: (ms, predicted ms, outcome, choices), costliest first."""
    rng = np.random.default_rng(seed)
    best: list[tuple[float, float, str, Costly]] = []
    end, waiting, num_files = time.monotonic() + seconds, list(SEEDS), 0
    while time.monotonic() < end or waiting:
        costly = waiting.pop() if waiting else best[rng.integers(len(best))][3].mutated(rng)
        try:
            data = costly.encode()
        except (ValueError, KeyError):
            continue  # choices that do not go together
        if len(data) > MAX_FILE_BYTES:
            continue
        num_files += 1
        ms, outcome = cpu_ms(data)
        best.append((ms, predict_decode_ms(data), outcome, costly))
        best.sort(key=lambda one: -one[0])
        del best[max(NUM_KEPT, len(SEEDS) if waiting else 0) :]
    print(f"{num_files} files in {seconds:.0f} s")
    return best


def main() -> None:
    """Climb, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    best = climb(options.seconds, options.seed)
    for ms, predicted_ms, outcome, costly in best[:NUM_SHOWN]:
        print(f"{ms:6.1f} ms, predicted {predicted_ms:6.1f}: {outcome}\n    {costly}")
    if best[0][0] > NOISE * MAX_DECODE_MS:
        sys.exit(f"a file takes {best[0][0]:.0f} ms; the most allowed is {MAX_DECODE_MS:.0f}")
    # The decoder itself stops a deflate flood at this multiple of what was predicted.
    slow = [one for one in best if one[0] > BUDGET_FACTOR * one[1] + BUDGET_MS + OVERSHOOT_MS]
    if slow:
        sys.exit(f"predicted {slow[0][1]:.1f} ms, took {slow[0][0]:.1f}: {slow[0][3]}")


if __name__ == "__main__":
    main()
