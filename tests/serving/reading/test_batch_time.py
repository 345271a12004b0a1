import numpy as np
import pytest

from serving.reading.batch_time import BatchTimeModel


def test_the_scale_is_remembered_while_all_batches_cost_the_same():
    times = BatchTimeModel()
    for size in (1, 32) * 3:
        times.update(0.0001 * size, 0.0005 + 0.00003 * size)
    for _ in range(10_000):
        times.update(0.0001, 0.001)  # single items with cold caches
    assert times.predict(0.0256, 2) < 0.02
    times.update(0.0128, 0.128)  # the machine is slow now
    assert times.predict(0.0256, 2) > 0.2


def test_the_time_model_learns_a_fixed_part_and_the_scale_of_the_costs():
    times = BatchTimeModel()
    for cost_s in (0.001, 0.008, 0.032, 0.004, 0.016, 0.002) * 5:
        times.update(cost_s, 0.010 + 2.0 * cost_s)
    assert times.scale == pytest.approx(2.0)
    assert times.predict(0.020, 1) == pytest.approx(0.010 + 2.0 * 0.020)
    assert times.predict(0.064, 2) == pytest.approx(2 * 0.010 + 2.0 * 0.064)


def test_the_time_model_forgets():
    times = BatchTimeModel()
    for _ in range(100):
        times.update(0.001, 10.0)
    for _ in range(100):
        times.update(0.001, 0.1)
    assert times.predict(0.001, 1) == pytest.approx(0.1, rel=0.01)


def test_before_the_scale_is_measured_the_mean_is_used():
    times = BatchTimeModel()
    for _ in range(10):
        times.update(0.004, 0.4)
    assert times.predict(0.008, 2) == pytest.approx(0.8)


def test_nearly_equal_costs_do_not_change_the_scale():
    """Their differences say less than the noise of the clock."""
    times = BatchTimeModel()
    for cost_s in (0.001, 0.010) * 10:
        times.update(cost_s, cost_s)
    rng = np.random.default_rng(0)
    for _ in range(300):
        times.update(0.001 + rng.uniform(-1e-5, 1e-5), 0.001 + float(rng.exponential(0.001)))
    assert times.scale == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_a_prediction_is_never_negative_and_grows_with_the_work(seed):
    rng = np.random.default_rng(seed)
    times = BatchTimeModel()
    for _ in range(50):
        times.update(float(rng.uniform(0.0001, 0.01)), float(rng.exponential(0.01)))
    predictions = [times.predict(0.001 * work, -(-work // 32)) for work in range(1, 100)]
    assert min(predictions) >= 0.0
    assert np.all(np.diff(predictions) >= -1e-12)


def test_before_any_measurement_a_batch_has_a_predicted_cost():
    assert BatchTimeModel().predict(0.001, 2) > BatchTimeModel().predict(0.001, 1) > 0.0
