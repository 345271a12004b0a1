import os
from dataclasses import replace

import numpy as np
import pytest
from tiny import draw_digits

from training.data import pool_cache, render
from training.data.datasets import LabelledImages
from training.data.pool_cache import cached_pool, key
from training.data.render import RenderConfig, Sources

CONFIG = RenderConfig(num_crops=20, num_processes=1)


@pytest.fixture
def sources():
    return Sources(draw_digits(20, seed=1), None, None)


class Renderer:
    """Counts how often a pool is made."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return draw_digits(20, seed=100 + self.calls)


def get(folder, sources, renderer, *, config=CONFIG, seed=1):
    return cached_pool(folder, sources, config, seed=seed, render=renderer)


def test_the_second_time_a_pool_is_read_and_is_the_same(tmp_path, sources):
    renderer = Renderer()
    first, second = (get(tmp_path, sources, renderer) for _ in range(2))
    assert renderer.calls == 1
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"num_crops": 21},
        {"style_frac": 0.1},
        {"scanner": replace(CONFIG.scanner, clip_prob=0.2)},
    ],
)
def test_a_changed_config_misses_the_cache(tmp_path, sources, change):
    renderer = Renderer()
    get(tmp_path, sources, renderer)
    get(tmp_path, sources, renderer, config=replace(CONFIG, **change))
    assert renderer.calls == 2


def test_another_seed_misses_the_cache(tmp_path, sources):
    renderer = Renderer()
    get(tmp_path, sources, renderer)
    get(tmp_path, sources, renderer, seed=2)
    assert renderer.calls == 2


def test_the_number_of_processes_does_not_miss_the_cache(tmp_path, sources):
    renderer = Renderer()
    get(tmp_path, sources, renderer)
    get(tmp_path, sources, renderer, config=replace(CONFIG, num_processes=2))
    assert renderer.calls == 1


@pytest.mark.parametrize("part", ["digits", "labels", "glyphs", "letters"])
def test_changed_source_data_misses_the_cache(sources, part):
    digits = sources.digits
    other = {
        "digits": replace(sources, digits=LabelledImages(255 - digits.images, digits.labels)),
        "labels": replace(sources, digits=LabelledImages(digits.images, digits.labels[::-1])),
        "glyphs": replace(sources, glyphs=digits),
        "letters": replace(sources, letters=digits.images),
    }[part]
    assert key(sources, CONFIG, seed=1) != key(other, CONFIG, seed=1)


def test_changed_code_misses_the_cache(tmp_path, sources):
    (tmp_path / "scanner.py").write_text("blur = 1\n")
    before = key(sources, CONFIG, seed=1, code=(tmp_path,))
    (tmp_path / "scanner.py").write_text("blur = 2\n")
    assert key(sources, CONFIG, seed=1, code=(tmp_path,)) != before


def test_a_new_file_of_code_misses_the_cache(tmp_path, sources):
    before = key(sources, CONFIG, seed=1, code=(tmp_path,))
    (tmp_path / "damage.py").write_text("")
    assert key(sources, CONFIG, seed=1, code=(tmp_path,)) != before


def test_the_code_that_counts_is_the_renderer_and_the_preprocessing():
    files = {path.name for folder in pool_cache.CODE for path in folder.glob("*.py")}
    assert {"render.py", "scanner.py", "styles.py", "preprocess.py", "cleaning.py"} <= files


def test_only_the_pools_that_were_used_last_are_kept(tmp_path, sources, monkeypatch):
    monkeypatch.setattr(pool_cache, "NUM_KEPT", 2)
    renderer = Renderer()
    for seed in (1, 2):
        get(tmp_path, sources, renderer, seed=seed)
        for path in tmp_path.iterdir():
            os.utime(path, (seed, seed))
    get(tmp_path, sources, renderer, seed=1)  # used again: seed 2 is now the oldest
    get(tmp_path, sources, renderer, seed=3)
    assert len(list(tmp_path.iterdir())) == 2
    get(tmp_path, sources, renderer, seed=1)
    assert renderer.calls == 3


def test_a_damaged_pool_is_rendered_again(tmp_path, sources, caplog):
    renderer = Renderer()
    get(tmp_path, sources, renderer)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    get(tmp_path, sources, renderer)
    assert renderer.calls == 2
    assert "damaged" in caplog.text
    get(tmp_path, sources, renderer)
    assert renderer.calls == 2


def test_a_cache_that_cannot_be_written_costs_no_pool(tmp_path, sources, caplog):
    (tmp_path / "file").write_text("")
    assert len(get(tmp_path / "file", sources, Renderer())) == 20
    assert "not kept" in caplog.text


def test_a_pool_from_the_cache_is_what_the_renderer_makes(tmp_path, sources):
    def make():
        return render.render_pool(sources, CONFIG, seed=3)

    cached_pool(tmp_path, sources, CONFIG, seed=3, render=make)
    again = cached_pool(tmp_path, sources, CONFIG, seed=3, render=make)
    np.testing.assert_array_equal(again.images, make().images)
