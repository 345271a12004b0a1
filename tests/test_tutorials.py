"""Each command of these tutorials is run, and prints what the page says."""

from pathlib import Path

import pytest
from tutorial_reader import TutorialReader

ROOT = Path(__file__).parents[1]
NEEDED = ("README.md", "model", "tests")  # of the clone that the page is read in

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["own-model.md", "on-call.md"])
def test_a_tutorial_does_what_it_says(name, tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    for one in NEEDED:
        (clone / one).symlink_to(ROOT / one)
    TutorialReader((ROOT / "docs" / name).read_text(), clone).follow()


def test_a_promise_that_is_not_kept_is_found(tmp_path):
    page = "```sh\necho 1.2345 two\n```\n```text\n1.2310 two\n```\n```text\nthree\n```\n"
    with pytest.raises(AssertionError, match="'three' is not in"):
        TutorialReader(page, tmp_path, patience_s=0.1).follow()
