"""Which label counts: the latest of a person; a third person where two disagree."""

import pytest

from capture.label_decision import disputed, settle
from capture.label_event import LabelEvent
from capture.labels import to_table


def events(*said):
    """Events of one crop: (who, label, moment)."""
    made = [LabelEvent("read-1", 0, label, who, moment, "keyed") for who, label, moment in said]
    return to_table(made).to_pandas()


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ([("ada", "4", 1)], "4"),
        ([("ada", "4", 1), ("ada", "9", 2)], "9"),
        ([("ada", "9", 2), ("ada", "4", 1)], "9"),
        ([("ada", "4", 1), ("ada", "9", 2), ("ada", "4", 3)], "4"),
        ([("ada", "4", 1), ("ben", "4", 2)], "4"),
        ([("ada", "4", 1), ("ben", "9", 2), ("cy", "9", 3)], "9"),
        ([("ada", "4", 1), ("ben", "9", 2), ("ada", "9", 3)], "9"),
        ([("ada", "unreadable", 1)], "unreadable"),
    ],
)
def test_the_majority_of_persons_settles_a_crop(said, label):
    assert settle(events(*said))["label"].tolist() == [label]
    assert disputed(events(*said)).empty


@pytest.mark.parametrize(
    "said",
    [
        [("ada", "4", 1), ("ben", "9", 2)],
        [("ada", "4", 1), ("ben", "9", 2), ("cy", "7", 3)],
        [("ada", "4", 1), ("ben", "9", 2), ("cy", "9", 3), ("di", "4", 4)],
        [("ada", "4", 1), ("ada", "9", 1)],
    ],
)
def test_what_no_majority_says_is_a_dispute(said):
    assert settle(events(*said)).empty
    assert len(disputed(events(*said))) == len(said)


def test_one_crop_s_dispute_leaves_the_next_crop_settled():
    made = [
        LabelEvent("read-1", 0, "4", "ada", 1, "keyed"),
        LabelEvent("read-1", 0, "9", "ben", 1, "keyed"),
        LabelEvent("read-1", 1, "5", "ada", 1, "keyed"),
    ]
    found = settle(to_table(made).to_pandas())
    assert found[["crop_index", "label"]].to_numpy().tolist() == [[1, "5"]]
