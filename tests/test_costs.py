"""The cost model, by hand."""

import pytest

from contract import costs
from training.evaluation import thresholds


def test_a_million_reads_cost_their_keying_and_their_letters_astray():
    model = costs.Costs(wrong_read_eur=2.0, keying_s=3.6, keying_eur_per_hour=30.0)
    assert model.reject_eur == pytest.approx(0.03)
    # 100,000 keyed at 0.03 euros, 500 astray at 2 euros
    assert model.euros_per_million(0.1, 0.0005) == pytest.approx(3000 + 1000)


def test_the_promise_is_what_the_thresholds_are_fitted_for():
    assert costs.PROMISED_ERROR_FRAC == thresholds.DEFAULT_ERROR_TARGET
