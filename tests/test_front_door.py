"""What a release says of itself agrees, and the forms on the repository's page are forms."""

import re
from pathlib import Path

import pytest
import yaml

from contract.version import VERSION

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}  # GitHub's form schema


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jobs"])
def test_an_image_is_labelled_with_the_version(name):
    labels = (ROOT / "deploy" / name).read_text()
    assert re.findall(r'org\.opencontainers\.image\.version="(.*?)"', labels) == [VERSION]


def test_the_changelog_begins_with_the_version_or_with_what_is_not_released():
    headings = re.findall(r"^## (\S+)(?: - \d{4}-\d\d-\d\d)?$", changelog(), re.MULTILINE)
    assert next(one for one in headings if one != "Unreleased") == VERSION


def test_a_release_of_the_changelog_has_one_list_of_each_kind():
    for release in re.split(r"^## ", changelog(), flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert len(kinds) == len(set(kinds)), release.split("\n")[0]
        assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def changelog():
    return (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_template_is_a_form_that_github_shows(form):
    said = yaml.safe_load(form.read_text())
    if form.stem == "config":
        assert set(said) <= {"blank_issues_enabled", "contact_links"}
        return
    assert said["name"]
    assert said["description"]
    ids = [field["id"] for field in said["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    for field in said["body"]:
        assert field["type"] in FIELDS
        assert field["attributes"]["label"]
        if field["type"] == "dropdown":
            options = field["attributes"]["options"]
            assert all(isinstance(one, str) for one in options)
            assert len(options) == len(set(options)) > 1
