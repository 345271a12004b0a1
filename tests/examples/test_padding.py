"""Which texts run together."""

from itertools import product

import numpy as np
import pytest

from examples.product_similarity.padding import RUN_TOKENS, together


def cost_of(runs, num_tokens):
    return sum(RUN_TOKENS + len(run) * max(num_tokens[place] for place in run) for run in runs)


def every_cut(num_tokens):
    """All ways to cut the sorted texts into runs."""
    order = sorted(range(len(num_tokens)), key=lambda place: num_tokens[place])
    for cuts in product([False, True], repeat=len(order) - 1):
        runs = [[order[0]]]
        for place, cut in zip(order[1:], cuts, strict=True):
            if cut:
                runs.append([])
            runs[-1].append(place)
        yield runs


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_takes_less(seed):
    num_tokens = np.random.default_rng(seed).integers(3, 60, 9).tolist()
    least = min(cost_of(runs, num_tokens) for runs in every_cut(num_tokens))
    assert cost_of(together(num_tokens), num_tokens) == least


@pytest.mark.parametrize("num", [1, 2, 64])
def test_each_text_runs_once(num):
    num_tokens = np.random.default_rng(num).integers(3, 256, num).tolist()
    places = np.concatenate(together(num_tokens))
    assert sorted(places) == list(range(num))


def test_texts_of_one_length_run_together_and_a_long_one_alone():
    assert [len(run) for run in together([8] * 32)] == [32]
    assert sorted(len(run) for run in together([8] * 31 + [256])) == [1, 31]
