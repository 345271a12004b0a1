"""What the README and the documents tell a reader to type exists."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import digitline
from contract.version import VERSION
from pages.command_help import to_markdown

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "sdk" / "README.md",
        *(ROOT / "examples").rglob("README.md"),
    ]
)
COMMAND_BLOCK = re.compile(r"^```(?:sh|bash|console|text)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
LINKING = [
    *DOCUMENTS,
    *sorted((ROOT / "docs" / "measurements").glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "tests" / "data").rglob("*.md")),
    ROOT / "model" / "champion" / "MODEL_CARD.md",
]


def typed(path):
    """Everything in a document that is set as code."""
    text = path.read_text()
    blocks = COMMAND_BLOCK.findall(text)
    inline = INLINE.findall(COMMAND_BLOCK.sub("", text))
    return "\n".join([*blocks, *inline]).replace("\\\n", " ")


def mentions(pattern):
    """(document, match) of each mention in any document."""
    return [
        pytest.param(*match.groups(), id=f"{path.name}: {match.group()}"[:70])
        for path in DOCUMENTS
        for match in {one.group(): one for one in re.finditer(pattern, typed(path))}.values()
    ]


@cache
def make_targets():
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_is_looked_into():
    assert "make serve" in typed(ROOT / "README.md")


@pytest.mark.parametrize(
    "target", mentions(r"(?m)(?:^|&& |\$ )make (?:[A-Z]+=\S+ )*([a-z][a-z0-9-]*)")
)
def test_a_make_target_that_is_mentioned_exists(target):
    assert target in make_targets()


@pytest.mark.parametrize(
    "module",
    mentions(r"python -m ((?:model|serving|capture|monitoring|training|infra|loadtest)[a-z_.]*)"),
)
def test_a_module_that_is_mentioned_can_be_run(module):
    path = ROOT / module.replace(".", "/")
    main = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert main.is_file(), f"{main} is missing"
    source = main.read_text()
    assert "__main__" in source, f"{main} does nothing when it is run"


COMMANDS = (
    r"python -m (bulk|model|monitoring|training|loadtest|serving\.keys) "
    r"((?:data )?[a-z][a-z_-]+)\b([^\n|>;#&]*)"
)

# Prints, as JSON, what `python -m MODULE COMMAND --help` says for each of a list of them.
HELPS = """
import contextlib, io, json, runpy, sys
texts = []
for module, command in json.loads(sys.argv[1]):
    sys.argv = [module, *command.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    texts.append(text.getvalue())
print(json.dumps(texts))
"""


@pytest.fixture(scope="module")
def helps():
    """(module, command) -> its help; all are asked in one process, since each start takes long."""
    asked = sorted({one.values[:2] for one in mentions(COMMANDS)})
    done = subprocess.run(
        [sys.executable, "-c", HELPS, json.dumps(asked)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return dict(zip(asked, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("module", "command", "rest"), mentions(COMMANDS))
def test_a_command_that_is_mentioned_exists_with_its_options(module, command, rest, helps):
    text = helps[module, command]
    assert f"{module} {command} [-h]" in text
    for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
        assert re.search(rf"{option}(?![a-z-])", text), option


def anchors(path):
    """The anchors of a document as GitHub makes them: of its headings, and those set by hand."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.name)
def test_a_linked_file_and_its_anchor_exist(path):
    for target, anchor in LINK.findall(path.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_each_picture_is_shown_in_a_document():
    pictures = {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    shown = {Path(target).name for path in LINKING for target, _ in LINK.findall(path.read_text())}
    assert pictures <= shown


def test_the_benchmark_finds_its_marks_in_the_document_that_it_writes():
    from loadtest.bench.bench_command import DOCUMENT
    from loadtest.bench.table import insert

    assert "the tables" in insert(DOCUMENT.read_text(), "the tables")


@pytest.mark.parametrize("name", mentions(r"(DIGITS_[A-Z_]+[A-Z])"))
def test_a_setting_that_is_mentioned_exists(name):
    from serving.config import PREFIX, Settings

    of_the_service = {PREFIX + field.upper() for field in Settings.model_fields}
    of_the_jobs = {
        quoted
        for package in ("capture", "monitoring", "training")
        for path in (ROOT / package).rglob("*.py")
        for quoted in re.findall(r'"(DIGITS_[A-Z_]+[A-Z])"', path.read_text())
    }
    assert name in of_the_service | of_the_jobs


def test_every_make_target_is_phony_or_a_file_and_has_a_help_line():
    text = (ROOT / "Makefile").read_text()
    documented = set(re.findall(r"^([a-z][a-z0-9-]*):.*?##", text, re.MULTILINE))
    assert make_targets() <= documented


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_python_example_is_python(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        ast.parse(block)


def explained_log_lines():
    """The lines of the log that docs/operations.md explains."""
    section = (ROOT / "docs" / "operations.md").read_text().partition("## What each line")[2]
    rows = re.findall(r"^\| (`[^|]+`) \|", section.partition("\n## ")[0], re.MULTILINE)
    return sorted({line.removesuffix(": ...") for row in rows for line in INLINE.findall(row)})


@pytest.mark.parametrize("line", explained_log_lines())
def test_a_log_line_that_is_explained_is_in_the_code(line):
    sources = (ROOT / "serving").rglob("*.py")
    assert any(line in path.read_text() for path in sources)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse of 3.11 wrote the page")
def test_the_page_of_commands_is_what_the_programs_say():
    assert to_markdown() == (ROOT / "docs" / "commands.md").read_text()


def test_the_page_of_all_documents_links_each_of_them():
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    targets = {target for target, _ in listed}
    missing = {one.name for one in (ROOT / "docs").glob("*.md")} - targets - {"README.md"}
    assert not missing


def test_service_and_sdk_have_one_version():
    assert digitline.__version__ == VERSION
