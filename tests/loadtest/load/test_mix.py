import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from loadtest.digit_crops import load
from loadtest.load import mix
from loadtest.load.runner import arrivals_of
from loadtest.load.shapes import Shape

ROOT = Path(__file__).parents[3]


def calls(num=400, keys=()):
    return mix.calls(load(), list(keys), num, random.Random(1))


def answer(call, **changes):
    rows = [{"digit": label, "accepted": True} for label in call.labels]
    rows[0] |= changes
    code = "".join(str(row["digit"]) for row in rows)
    whole = {
        "digit": rows[0],
        "digits": {"results": rows},
        "postcode": {"digits": rows},
        "field": {"digits": rows, "code": code, "accepted": rows[0]["accepted"]},
    }
    return orjson.dumps(whole[call.kind])


def one_of(kind):
    return next(call for call in calls() if call.kind == kind)


def test_most_calls_are_single_crops_and_all_kinds_occur():
    kinds = [call.kind for call in calls()]
    assert kinds.count("digit") > 0.8 * len(kinds)
    assert set(kinds) == set(mix.SHARES)


def test_each_key_sends_an_equal_share():
    sent = [call.request.headers["X-Api-Key"] for call in calls(keys=("a", "b"))]
    assert {"a", "b"} == set(sent)
    assert 0.4 < sent.count("a") / len(sent) < 0.6


@pytest.mark.parametrize("kind", mix.SHARES)
def test_a_right_answer_is_right(kind):
    call = one_of(kind)
    result = mix.check(call, answer(call))
    assert result == mix.Check(num_right=len(call.labels), is_wrong=False)


@pytest.mark.parametrize("kind", mix.SHARES)
def test_an_accepted_wrong_digit_is_wrong_and_a_rejected_one_is_not(kind):
    call = one_of(kind)
    other = (call.labels[0] + 1) % 10
    assert mix.check(call, answer(call, digit=other)).is_wrong
    assert not mix.check(call, answer(call, digit=other, accepted=False)).is_wrong


def test_a_field_that_is_cut_into_other_digits_is_wrong_only_if_it_is_accepted():
    call = one_of("field")
    code = "".join(map(str, call.labels[1:]))
    rows = [{"digit": label} for label in call.labels[1:]]
    for is_accepted in (True, False):
        body = orjson.dumps({"code": code, "accepted": is_accepted, "digits": rows})
        assert mix.check(call, body) == mix.Check(num_right=0, is_wrong=is_accepted)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"results": []}', b'{"digit": 1}'])
def test_a_body_that_does_not_answer_the_call_is_an_error(body):
    with pytest.raises(ValueError, match="not an answer"):
        mix.check(one_of("digits"), body)


def test_open_loop_arrivals_follow_the_shape():
    shape = Shape("s", 10.0, lambda at_s: 10.0 if at_s < 5 else 300.0, [])
    arrivals = arrivals_of(shape)
    assert ((arrivals < 5).sum(), (arrivals >= 5).sum()) == (50, 1500)
    assert (np.diff(arrivals) > 0).all()


def test_locust_loads_the_locustfile():
    """Locust patches the standard library, so it must never be imported here."""
    command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Scanner" in done.stdout + done.stderr, done.stderr
    assert "locust" not in sys.modules
