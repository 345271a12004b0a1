"""The fault table is measured in parts: the rounds of each part stay side by side in one file."""

from collections import Counter

import pytest

from loadtest.failure import LoadtestFailed
from loadtest.faults.faults_command import Round, in_order, read_rounds, to_markdown, write_rounds


def round_of(client, fault, num_late=0):
    return Round(
        client=client, fault=fault, outcomes=Counter(service=99, NetworkFailed=1),
        num_late=num_late, num_answered_in_time=99 - num_late, worst_ms=42.0, lag_ms=(1.0, 2.0),
        seen=Counter(requests=140), num_recorded=100, num_records_too_many=0,
    )  # fmt: skip


def test_a_part_replaces_its_own_rounds_and_keeps_the_others(tmp_path):
    path = tmp_path / "rounds.json"
    assert read_rounds(path) == read_rounds(None) == {}
    write_rounds(path, {("dns", "httpx"): round_of("httpx", "dns")})
    rounds = read_rounds(path)
    rounds["calm", "digitline"] = round_of("digitline", "calm")
    rounds["dns", "httpx"] = round_of("httpx", "dns", num_late=9)
    write_rounds(path, rounds)
    assert read_rounds(path) == rounds
    found = [(one.fault, one.client, one.num_late) for one in in_order(rounds)]
    assert found == [("calm", "digitline", 0), ("dns", "httpx", 9)]


def test_the_table_leaves_a_cell_empty_that_was_not_measured():
    rounds = {
        ("calm", "digitline"): round_of("digitline", "calm"),
        ("calm", "triton"): round_of("triton", "calm"),
        ("dns", "digitline"): round_of("digitline", "dns"),
    }
    table = to_markdown(in_order(rounds)).splitlines()
    assert table[0].startswith("| fault | digitline | tritonclient | requests a letter")
    assert table[2] == "| none | 99.0, 0.0, 42 | 99.0, 0.0, 42 | 1.00 | 0 |"
    assert "| 99.0, 0.0, 42 |  | 1.00 | 0 |" in table[3]


@pytest.mark.parametrize("content", ["", "[1]", '[{"client": "httpx"}]'])
def test_a_file_of_another_kind_is_refused_before_a_round_is_measured(tmp_path, content):
    path = tmp_path / "rounds.json"
    path.write_text(content)

    with pytest.raises(LoadtestFailed, match="no rounds of this program"):
        read_rounds(path)
