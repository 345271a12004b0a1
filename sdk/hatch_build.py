"""Packs `model/` and the champion into the wheel and the sdist when they are built.

The repository has one copy of the model's code. A wheel has another one, as `digitline._model`,
because a package named `model` would clash with others of that name. Only the lines that import
from `model` differ.
"""

import ast
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKED: Final = "digitline/_model"
CHAMPION_FILES: Final = ("manifest.json", "model.onnx", "golden.png")
# They draw pictures for people; no read needs them.
LEFT_OUT: Final = frozenset({"__main__.py", "explain.py", "occlusion.py"})
_IMPORT: Final = re.compile(r"^(\s*)from model(?=[. ])", re.MULTILINE)


class PackModel(BuildHookInterface[Any]):
    """Adds the packed model to what is built; an sdist has it, so that a wheel is built from it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Pack the model, unless the sources are an sdist's, which have it already.

        Raises:
            FileNotFoundError: there is neither a model to pack nor a packed one.
        """
        root = Path(self.root)
        if (root / "src" / PACKED / "champion" / "model.onnx").exists():
            return
        if version == "editable":
            raise NotImplementedError(
                "an editable installation has no packed model; build a wheel: "
                "pip wheel --no-deps ./sdk"
            )
        self._folder = tempfile.mkdtemp(prefix="digitline-model-")
        pack(root.parent / "model", Path(self._folder))
        top = "src/" if self.target_name == "sdist" else ""
        build_data["force_include"][self._folder] = top + PACKED
        build_data["force_include"][str(root.parent / "LICENSE")] = f"{top}digitline/LICENSE"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was packed."""
        del version, build_data, artifact_path
        if folder := getattr(self, "_folder", None):
            shutil.rmtree(folder)


def pack(model: Path, folder: Path) -> None:
    """Copy the model's code and the served champion into a folder.

    Args:
        model: the repository's `model/`.
        folder: becomes the package `digitline._model`; exists.

    Raises:
        FileNotFoundError: a file of the model or of the champion is missing.
        ValueError: a module imports the model in a way that is not rewritten.
    """
    sources = [path for path in sorted(model.glob("*.py")) if path.name not in LEFT_OUT]
    if not sources:
        raise FileNotFoundError(f"{model} has no Python files; build in a clone of the repository")
    for path in sources:
        (folder / path.name).write_text(rewritten(path.read_text("utf-8"), path.name), "utf-8")
    (folder / "champion").mkdir(exist_ok=True)
    for name in CHAMPION_FILES:
        shutil.copyfile(model / "champion" / name, folder / "champion" / name)


def rewritten(source: str, name: str) -> str:
    """A module of `model` as a module of `digitline._model`.

    Raises:
        ValueError: it imports the model in a way that is not rewritten, or what is left out.
    """
    left_out = {f"digitline._model.{one.removesuffix('.py')}" for one in LEFT_OUT}
    changed = _IMPORT.sub(r"\1from digitline._model", source)
    for node in ast.walk(ast.parse(changed)):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        for one in names:
            if one == "model" or one.startswith("model.") or one in left_out:
                raise ValueError(f"{name}:{node.lineno} imports {one}, which cannot be packed")
    return changed
