"""docs/architecture.md against the imports: the pictures' arrows, the rooms, the files it names.

A room is a package (`model`), a folder in a package (`serving/edge`), or the own files of a package
that has such folders (`serving`). Deeper folders belong to the room above. `service.py` is a room.
The folder of infra's rules is no room: it only splits a long list.

The first picture shows packages; every import counts. The others show the rooms of one package;
they leave out the imports of STARTERS, because a program imports every room that it starts.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
SPLIT = ("serving", "training", "loadtest")  # packages whose rooms have a picture
APART = ("monitoring/studies", "training/studies")  # rooms of the first picture
# And every __main__.py.
STARTERS = ("service.py", "serving/build.py", "serving/compose.py", "serving/keys.py")
EXAMPLES = "examples/*/service.py"  # each is a starter, too
SERVING = ("serving/server", "serving/edge", "serving/api", "serving/reading")
CROPS_WALK = (*SERVING, "capture", "model")
PACKAGES = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
FILES = [ROOT / "service.py", *(path for package in PACKAGES for path in package.rglob("*.py"))]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}


def room_of(path):
    parts = path.relative_to(ROOT).parts
    if len(parts) == 1:
        return parts[0]
    folder = "/".join(parts[:2])
    return folder if len(parts) > 2 and (parts[0] in SPLIT or folder in APART) else parts[0]


def in_first_picture(room):
    return room if room in APART else room.partition("/")[0]


def is_starter(path):
    name = path.relative_to(ROOT)
    return path.name == "__main__.py" or str(name) in STARTERS or name.match(EXAMPLES)


def imported_files(path):
    """The files of this repository that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found = name
            while found and found not in MODULES:
                found = found.rpartition(".")[0]
            if found:
                yield MODULES[found]


# (room, room) -> the files that import across
ARROWS = defaultdict(set)
WITHOUT_STARTERS = set()
for one in FILES:
    for other in imported_files(one):
        arrow = room_of(one), room_of(other)
        if arrow[0] != arrow[1]:
            ARROWS[arrow].add(f"{one.relative_to(ROOT)} -> {other.relative_to(ROOT)}")
            if not is_starter(one):
                WITHOUT_STARTERS.add(arrow)


def arrows_of_the_code():
    between = {tuple(map(in_first_picture, arrow)) for arrow in ARROWS}
    inside = {(a, b) for a, b in WITHOUT_STARTERS if in_first_picture(a) == in_first_picture(b)}
    return {(a, b) for a, b in between if a != b} | inside


def identifier(room):
    """How a room is called in the pictures: serving_edge; serving_own for a package's own files."""
    return room.removesuffix(".py").replace("/", "_")


def written(arrows):
    """Arrows as the lines that the pictures should have."""
    lines = []
    for a, b in sorted(arrows):
        inside = in_first_picture(a) == in_first_picture(b)
        ends = [f"{one}_own" if inside and one in SPLIT else identifier(one) for one in (a, b)]
        lines.append("    {} --> {}".format(*ends))
    return sorted(lines)


def drawn():
    """The lines with arrows of all pictures, one arrow each: `a & b --> c` is two, `<-->` too."""
    lines = []
    for block in re.findall(r"^```mermaid\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL):
        bare = re.sub(r"\[[^]]*\]", "", block)  # without the labels
        for left, arrow, right in re.findall(r"^ *(\w[\w &]*?) (<?-->) (\w[\w &]*)$", bare, re.M):
            for a in left.split(" & "):
                for b in right.split(" & "):
                    lines.append(f"    {a} --> {b}")
                    lines += [f"    {b} --> {a}"] if arrow == "<-->" else []
    return sorted(lines)


def test_the_pictures_have_the_arrows_that_the_code_has():
    wanted, shown = written(arrows_of_the_code()), drawn()
    missing = [line for line in wanted if line not in shown]
    surplus = [line for line in shown if line not in wanted]
    assert not missing + surplus, (
        "docs/architecture.md\nlacks:\n{}\nhas without an import:\n{}\nall that it should have:\n{}"
    ).format(*map("\n".join, (missing, surplus, wanted)))
    assert len(shown) == len(set(shown)), "an arrow is drawn twice"


def circles():
    """Sets of rooms that import each other, directly or by way of others."""
    arrows = arrows_of_the_code()
    reached = {a: {b for x, b in arrows if x == a} for a, _ in arrows}
    while True:
        wider = {a: bs.union(*(reached.get(b, set()) for b in bs)) for a, bs in reached.items()}
        if wider == reached:
            break
        reached = wider
    return {
        frozenset(b for b in bs if a in reached.get(b, ())) | {a}
        for a, bs in reached.items()
        if a in bs
    }


def listed(title):
    """The bullets of a section, each as the rooms that it names before its colon."""
    section = DOCUMENT.partition(f"\n### {title}\n")[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        tuple(re.findall(r"`([\w/]+)`", head))
        for head in re.findall(r"^- ([^:]*):", section, re.MULTILINE)
    ]


def test_rooms_that_import_each_other_are_listed_with_the_reason():
    assert circles() == set(map(frozenset, listed("Circles")))


def test_the_crops_walk_only_goes_forward_but_for_what_is_listed():
    back = {
        arrow: sorted(files)
        for arrow, files in ARROWS.items()
        if arrow in WITHOUT_STARTERS
        and set(arrow) <= set(CROPS_WALK)
        and CROPS_WALK.index(arrow[0]) > CROPS_WALK.index(arrow[1])
    }
    assert set(back) == set(listed("Steps back")), back


@pytest.mark.parametrize("room", sorted({room for arrow in ARROWS for room in arrow}))
def test_every_room_has_a_line(room):
    assert re.search(rf"^\| `{re.escape(room)}` \|", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`([\w/]+\.py)`", DOCUMENT))))
def test_a_file_that_is_named_exists(file):
    assert (ROOT / file).is_file()


def test_nobody_imports_a_program():
    """Programs, and what puts a process together, start every chain of imports."""
    guilty = {
        f"{one.relative_to(ROOT)} -> {other.relative_to(ROOT)}"
        for one in FILES
        for other in imported_files(one)
        if is_starter(other) and not is_starter(one)
    }
    assert not guilty
