import itertools
import os
import re
import time

import numpy as np
import pytest

from serving.api.codes import (
    BEAM,
    MAX_CODES,
    Pattern,
    PatternError,
    PostcodesError,
    load_postcodes,
    rank_codes,
)


def rank(probs, **options):
    return rank_codes(probs, **options).candidates


def random_probs(rng, length, sharpness=1.0):
    logits = rng.normal(0, sharpness, (length, 10))
    probs = np.exp(logits)
    return (probs / probs.sum(axis=1, keepdims=True)).tolist()


def rank_by_brute_force(probs, *, valid=None, pattern=None):
    """Rank all codes, without a beam."""
    shares = {}
    for digits in itertools.product(range(10), repeat=len(probs)):
        code = "".join(map(str, digits))
        if (valid is None or code in valid) and (pattern is None or re.fullmatch(pattern, code)):
            shares[code] = float(np.prod([row[d] for row, d in zip(probs, digits, strict=True)]))
    total = sum(shares.values())
    return sorted(
        ((code, share / total) for code, share in shares.items() if share > 0),
        key=lambda pair: -pair[1],
    )


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "codes.txt"
        path.write_text(text)
        return load_postcodes(path)

    return load_text


def assert_same(candidates, expected, top_k):
    assert [one.code for one in candidates] == [code for code, _ in expected[:top_k]]
    np.testing.assert_allclose(
        [one.probability for one in candidates], [share for _, share in expected[:top_k]]
    )


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_equals_brute_force(length, seed):
    probs = random_probs(np.random.default_rng(seed), length)
    assert_same(rank(probs, top_k=10), rank_by_brute_force(probs), 10)


@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_among_valid_codes_equals_brute_force(load, seed):
    rng = np.random.default_rng(seed)
    probs = random_probs(rng, 3)
    valid = {f"{code:03d}" for code in rng.integers(0, 1000, 40)}
    ranked = rank(probs, top_k=10, valid=load("\n".join(valid)))
    assert_same(ranked, rank_by_brute_force(probs, valid=valid), 10)


@pytest.mark.parametrize("pattern", ["[1-9][0-9]{2}", "0.*", "(12|34)5?.", "[^5]*", "1|2", ".{3}"])
def test_the_ranking_under_a_pattern_equals_brute_force(pattern):
    probs = random_probs(np.random.default_rng(3), 3)
    ranked = rank(probs, top_k=10, pattern=Pattern(pattern))
    assert_same(ranked, rank_by_brute_force(probs, pattern=pattern), 10)


def test_a_list_and_a_pattern_must_both_allow_a_code(load):
    probs = random_probs(np.random.default_rng(4), 3)
    valid = {"123", "223", "423"}
    ranked = rank(probs, top_k=10, valid=load("123\n223\n423\n"), pattern=Pattern("[12].*"))
    assert_same(ranked, rank_by_brute_force(probs, valid=valid, pattern="[12].*"), 10)


@pytest.mark.parametrize("length", [4, 5])
def test_the_beam_finds_the_best_of_all_codes(length):
    rng = np.random.default_rng(length)
    for _ in range(20):
        probs = random_probs(rng, length, sharpness=3.0)
        best = "".join(str(int(np.argmax(row))) for row in probs)
        assert rank(probs, top_k=1)[0].code == best


def test_even_a_beam_that_must_cut_gives_probabilities():
    candidates = rank([[0.1] * 10] * 12, top_k=10)
    assert [one.probability for one in candidates] == pytest.approx([1e-12] * 10)


def test_digits_that_say_nothing_do_not_make_a_code_impossible():
    assert rank_codes([[0.1] * 10] * 12, top_k=1).possible_frac == pytest.approx(1.0)


def test_only_valid_codes_are_candidates_even_improbable_ones(load):
    probs = [[1 - 9e-3, *[1e-3] * 9]] * 5  # clearly 00000
    (only,) = rank(probs, top_k=10, valid=load("99990\n"))
    assert (only.code, only.probability) == ("99990", pytest.approx(1.0))


def test_a_valid_code_is_not_lost_to_a_beam_full_of_invalid_ones(load):
    """The list removes prefixes at each position, so the beam holds possible prefixes only."""
    rng = np.random.default_rng(9)
    probs = random_probs(rng, 8, sharpness=0.1)
    codes = sorted({f"{code:08d}" for code in rng.integers(0, 10**8, BEAM // 2)})
    ranked = rank(probs, top_k=1, valid=load("\n".join(codes)))
    shares = [np.prod([row[int(d)] for row, d in zip(probs, code, strict=True)]) for code in codes]
    assert ranked[0].code == codes[int(np.argmax(shares))]


def test_a_pattern_finds_its_code_however_many_likelier_ones_it_excludes():
    """Patterns are matched after the beam, so only codes in the beam can match."""
    probs = [[0.82, *[0.02] * 9]] * 6
    ranked = rank(probs, top_k=1, pattern=Pattern("0000[1-9]{2}"))
    assert ranked[0].code.startswith("0000")


def test_no_valid_code_of_this_length_gives_none(load):
    probs = random_probs(np.random.default_rng(1), 4)
    assert rank(probs, top_k=10, valid=load("10115\n")) == []


def test_a_pattern_that_nothing_matches_gives_none():
    probs = random_probs(np.random.default_rng(1), 4)
    assert rank(probs, top_k=10, pattern=Pattern("[a-z]+")) == []


def test_a_digit_without_any_mass_gives_none(load):
    probs = [[1.0, *[0.0] * 9]] * 3
    assert rank(probs, top_k=10, valid=load("123\n")) == []


def test_leading_zeros_are_kept(load):
    probs = [[1.0, *[0.0] * 9], [0.0, 1.0, *[0.0] * 8], [0.0, 0.0, 1.0, *[0.0] * 7]]
    assert rank(probs, top_k=1, valid=load("012\n"))[0].code == "012"


def test_a_code_of_another_length_is_another_code(load):
    probs = [[1.0, *[0.0] * 9], [0.0, 1.0, *[0.0] * 8], [0.0, 0.0, 1.0, *[0.0] * 7]]
    assert rank(probs, top_k=1, valid=load("12\n0012\n")) == []


def test_codes_are_read_one_per_line(load):
    assert len(load("10115\r\n\n 20095 \n10115\n99\n")) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "line 2: '1'"),
        ("1234567890123", "2 to 12 digits"),
        ("12a45", "line 2: '12a45'"),
        ("-1234", "line 2"),
        ("10 115", "line 2"),
        ("1e5", "line 2"),
        ("x" * 10_000, "line 2: 'x{20}'"),
    ],
)
def test_a_line_that_is_no_code_is_refused_by_its_number(load, line, message):
    with pytest.raises(PostcodesError, match=message):
        load(f"10115\n{line}\n")


@pytest.mark.parametrize("text", ["", "\n\n", " \n"])
def test_an_empty_list_is_refused(load, text):
    with pytest.raises(PostcodesError, match="unset DIGITS_POSTCODES"):
        load(text)


def test_digits_of_another_script_are_refused(tmp_path):
    path = tmp_path / "codes.txt"
    path.write_text("١٢٣٤٥\n", encoding="utf-8")
    with pytest.raises(PostcodesError, match="cannot be read"):
        load_postcodes(path)


def test_a_list_that_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "codes.txt")
    with pytest.raises(PostcodesError, match="FIFO"):
        load_postcodes(tmp_path / "codes.txt")


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(PostcodesError, match="nowhere"):
        load_postcodes(tmp_path / "nowhere")


def test_a_million_codes_are_loaded_in_bounded_memory(tmp_path):
    path = tmp_path / "codes.txt"
    path.write_text("\n".join(f"{code:07d}" for code in range(MAX_CODES)))
    codes = load_postcodes(path)
    assert len(codes) == MAX_CODES
    assert sum(some.nbytes for some in codes._codes.values()) == 8 * MAX_CODES
    probs = random_probs(np.random.default_rng(0), 7, sharpness=3.0)
    assert rank(probs, top_k=1, valid=codes)[0].code[0] == "0"


def test_more_than_a_million_codes_are_refused(load, monkeypatch):
    monkeypatch.setattr("serving.api.codes.MAX_CODES", 3)
    assert len(load("11\n22\n33\n")) == 3
    with pytest.raises(PostcodesError, match="more than 3"):
        load("11\n22\n33\n44\n")


@pytest.mark.parametrize("text", ["(", "[", "a" * 65, "\\8", "(?=1)", "\ud800", "a{1001}"])
def test_a_pattern_that_cannot_be_used_is_refused(text):
    with pytest.raises(PatternError):
        Pattern(text)


def test_the_error_of_a_pattern_is_plain_text():
    with pytest.raises(PatternError, match=r"pattern '\(' cannot be read: missing \): \($"):
        Pattern("(")


def test_a_pattern_matches_the_whole_code():
    assert Pattern("12").matches("12")
    assert not Pattern("12").matches("123")
    assert not Pattern("1|12").matches("123")


NOISE = [[0.1] * 10] * 12  # keeps the whole beam


@pytest.mark.parametrize(
    "text",
    [
        "(.?){999}", "((.?){30}){33}", "(\\d?){999}", "((0|1|2|3|4|5|6|7|8|9)?){999}", "(.*){500}",
        "((((\\d?){9}){9}){9})", "\\pL{999}", "[\\pN]{900}", "(.{0,12}){80}",
    ],
)  # fmt: skip
def test_a_pattern_with_thousands_of_states_is_refused_and_takes_a_bounded_time(text):
    started_s = time.thread_time()
    with pytest.raises(PatternError, match=r"too large|more than 50 ms"):
        rank(NOISE, top_k=10, pattern=Pattern(text))
    assert time.thread_time() - started_s < 1.0  # of this thread's processor, not of the clock


def test_the_time_of_matching_is_limited_by_the_clock_that_is_given():
    ticks = itertools.count(step=0.02)
    with pytest.raises(PatternError, match="3 codes took more"):
        rank(NOISE, top_k=10, pattern=Pattern("[0-9]+"), clock=lambda: next(ticks))


@pytest.mark.parametrize("text", ["(a|b|1|2|3|4|5|6|7|8|9|0){12}", "[0-9]{12}", "(?i)\\pN+", ".*"])
def test_a_pattern_that_is_cheap_to_match_is_matched_over_the_whole_beam(text):
    assert rank(NOISE, top_k=10, pattern=Pattern(text))


def test_a_pattern_with_exponential_backtracking_is_answered():
    pattern = Pattern("(([0-9]+)+)+x")
    assert not any(pattern.matches("1" * 12) for _ in range(2000))


def sure_digits(code, sure=0.999):
    return [[sure if digit == int(one) else (1 - sure) / 9 for digit in range(10)] for one in code]


def test_a_clear_invalid_code_leaves_little_mass_for_a_valid_neighbour(load):
    ranking = rank_codes(sure_digits("10115"), top_k=1, valid=load("10117\n"))
    assert ranking.candidates[0].probability == pytest.approx(1.0)
    assert ranking.possible_frac < 0.001


def test_a_clear_valid_code_has_nearly_all_the_mass(load):
    ranking = rank_codes(sure_digits("10115"), top_k=1, valid=load("10115\n10117\n"))
    assert ranking.possible_frac > 0.99
