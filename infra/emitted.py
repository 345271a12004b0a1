"""The metrics that Digitline's own code writes, read out of its source.

This package has an environment of its own and cannot import the service. Which names, namespace and
dimension the embedded-metric lines of serving and monitoring carry is found in their syntax trees,
so that an alarm on a metric that nobody writes is seen before it is deployed.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra import settings

SERVING = settings.REPOSITORY_ROOT / "serving" / "telemetry.py"
MONITORING = settings.REPOSITORY_ROOT / "contract" / "emf.py"
# words of the embedded metric format itself, and its units
_GRAMMAR = {"CloudWatchMetrics", "Count", "Dimensions", "Metrics", "Name", "Namespace", "Unit"}
_GRAMMAR |= {"Service", "Timestamp"}


@dataclass(frozen=True, slots=True)
class Emitted:
    """What one part of the code writes."""

    namespace: str
    service: str  # value of the dimension ``Service``
    names: frozenset[str]


@cache
def metrics() -> dict[str, Emitted]:
    """Each metric's name -> who writes it."""
    return {
        name: writer for writer in (_serving(SERVING), _monitoring(MONITORING))
        for name in writer.names
    }  # fmt: skip


def _serving(file: Path) -> Emitted:
    """Of the class that counts requests and writes them once a minute."""
    tree = ast.parse(file.read_text())
    (writer,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "EmfWriter"]
    words = [n.value for n in ast.walk(writer) if isinstance(n, ast.Constant)]
    names = {w for w in words if isinstance(w, str) and w.isalpha() and w[0].isupper()}
    return Emitted(*_directive(tree), frozenset(names - _GRAMMAR))


def _monitoring(file: Path) -> Emitted:
    """Of the table of names and units that every line is checked against."""
    tree = ast.parse(file.read_text())
    (units,) = [
        n.value for n in tree.body
        if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "UNITS"
    ]  # fmt: skip
    assert units is not None
    return Emitted(*_directive(tree), frozenset(ast.literal_eval(units)))


def _directive(tree: ast.Module) -> tuple[str, str]:
    """Namespace and service, as they stand in the dictionaries that become the line."""
    constants = {ast.unparse(n.target): n.value for n in tree.body if isinstance(n, ast.AnnAssign)}
    found: dict[str, str] = {}
    pairs = [
        pair for node in ast.walk(tree) if isinstance(node, ast.Dict)
        for pair in zip(node.keys, node.values, strict=True)
    ]  # fmt: skip
    for key, value in pairs:
        if isinstance(key, ast.Constant) and key.value in ("Namespace", "Service"):
            meant = constants.get(ast.unparse(value)) or value
            found[str(key.value)] = str(ast.literal_eval(meant))
    return found["Namespace"], found["Service"]
