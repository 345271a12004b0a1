import numpy as np
import pytest

from serving.reading.batch_time import BatchTimeModel


def test_the_cost_per_item_is_remembered_while_all_batches_have_one_item():
    times = BatchTimeModel()
    for size in (1, 32) * 3:
        times.update(size, 0.0005 + 0.00003 * size)
    for _ in range(10_000):
        times.update(1, 0.001)  # single items with cold caches
    assert times.predict(256, 128) < 0.02
    times.update(128, 0.128)  # the machine is slow now
    assert times.predict(256, 128) > 0.2


def test_the_time_model_learns_a_fixed_and_a_per_item_part():
    times = BatchTimeModel()
    for size in (1, 8, 32, 4, 16, 2) * 5:
        times.update(size, 0.010 + 0.002 * size)
    assert times.predict(20, 32) == pytest.approx(0.010 + 0.002 * 20)
    assert times.predict(64, 32) == pytest.approx(2 * 0.010 + 0.002 * 64)


def test_the_time_model_forgets():
    times = BatchTimeModel()
    for _ in range(100):
        times.update(1, 10.0)
    for _ in range(100):
        times.update(1, 0.1)
    assert times.predict(1, 1) == pytest.approx(0.1, rel=0.01)


def test_before_the_cost_per_item_is_measured_the_mean_is_used():
    times = BatchTimeModel()
    for _ in range(10):
        times.update(4, 0.4)
    assert times.predict(8, 4) == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(20))
def test_a_prediction_is_never_negative_and_grows_with_the_work(seed):
    rng = np.random.default_rng(seed)
    times = BatchTimeModel()
    for _ in range(50):
        times.update(int(rng.integers(1, 33)), float(rng.exponential(0.01)))
    predictions = [times.predict(num_items, 32) for num_items in range(1, 100)]
    assert min(predictions) >= 0.0
    assert np.all(np.diff(predictions) >= -1e-12)


def test_before_any_measurement_a_batch_has_a_predicted_cost():
    assert BatchTimeModel().predict(64, 32) > BatchTimeModel().predict(1, 32) > 0.0
