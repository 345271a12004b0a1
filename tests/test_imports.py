"""Who may import what, and that importing does nothing."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each package may import itself, the standard library and these. Additions to the first list have
# a reason: kornia_rs (model.decode) reads a PNG or JPEG in a third of the time, in memory-safe code
# for PNG; re2 (serving.api.codes) matches callers' patterns in linear time; uvicorn, its parser
# httptools and bentoml (serving) run the workers; starlette and uvicorn (monitoring) serve the
# report pages; PIL (capture) writes captured crops as PNG; training makes the champion's drift
# reference (capture.reference) and data sets of labelled captures (the rest of capture).
ALLOWED = {
    "contract": set(),
    "pages": {"jinja2"},
    "model": {"numpy", "PIL", "kornia_rs", "onnxruntime"},
    "serving": {
        "contract", "model", "capture.answer_record", "capture.audit_sample",
        "capture.challenger_answer", "capture.codec", "capture.crop_size", "capture.frames",
        "capture.label_event", "capture.read_check", "capture.record",
        "capture.site_states", "capture.spool", "starlette", "pydantic", "pydantic_settings",
        "prometheus_client", "opentelemetry", "structlog", "orjson", "numpy", "re2", "uvicorn",
        "httptools", "bentoml", "typing_extensions",
    },
    "service.py": {"serving", "model", "bentoml", "numpy"},
    "capture": {
        "contract", "model", "numpy", "pandas", "pyarrow", "boto3", "botocore", "PIL",
        "pydantic",
    },
    # bulk imports neither serving nor the spool: its answers cannot enter capture
    "bulk": {
        "contract", "model", "capture.archive", "capture.damaged", "capture.erasure",
        "capture.rows", "capture.sampling", "capture.store", "numpy", "pyarrow", "tqdm", "ray",
    },
    "monitoring": {
        "contract", "model", "capture", "pages", "numpy", "pandas", "boto3", "botocore",
        "evidently", "scipy", "starlette", "serving.server.limited_server",
    },
    "training": {
        "contract", "model", "capture.answered", "capture.archive", "capture.erasure",
        "capture.kept_crops", "capture.label_decision", "capture.label_event", "capture.labelled",
        "capture.labels", "capture.predictions", "capture.record", "capture.reference",
        "capture.rows", "capture.segments", "capture.snapshot_erasure",
        "capture.snapshot_files", "capture.store", "pages",
        "numpy", "pandas", "pyarrow", "torch", "onnx", "onnxruntime", "mlflow", "boto3",
        "botocore", "PIL", "matplotlib", "tqdm", "scipy", "sklearn", "cleanlab",
    },
    "console": {
        "contract", "model", "capture", "monitoring", "pages", "serving.api.codes",
        "serving.config", "serving.edge.guard", "serving.edge.key_ring", "serving.key_scope",
        "serving.problems", "serving.server.limited_server", "alembic", "sqlalchemy", "orjson",
        "starlette", "numpy", "pandas", "pyarrow", "PIL", "scipy", "httpx",
    },
}  # fmt: skip
ONLY_IN = {
    "mlflow": {"training/tracking.py"},
    "evidently": {"monitoring/drift.py"},
    "cleanlab": {"training/snapshots/label_noise.py"},
    "jinja2": {"pages/templating.py"},
    "ray": {"bulk/ray_engine.py"},
    "re2": {"serving/api/codes.py"},
}  # fmt: skip
# What the serving image does not have.
HEAVY = {
    "pandas", "pyarrow", "boto3", "evidently", "torch", "onnx", "mlflow", "matplotlib",
    "scipy", "sklearn",
}  # fmt: skip


def modules_of(package):
    """The product's modules; studies, which make mail as training makes it, are no part of it."""
    path = ROOT / package
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [one for one in found if "studies" not in one.parts]


def imports_of(path):
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name, allowed):
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_it_may(package):
    allowed = ALLOWED[package] | {package.removesuffix(".py")} | sys.stdlib_module_names
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules_of(package)
        for name in imports_of(path)
        if not is_within(name, allowed)
    }
    assert not foreign


def test_one_module_name_means_one_thing():
    """Only each package's settings share a name; peers are other people's servers."""
    packages = [*(package for package in ALLOWED if package != "service.py"), "infra", "loadtest"]
    names = Counter(
        path.stem
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if "peers" not in path.parts and not path.stem.startswith("__")
    )
    assert {name for name, number in names.items() if number > 1} == {"config"}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_where_it_belongs(library):
    importers = {
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in modules_of(package)
        if is_within_any(imports_of(path), library)
    }
    assert importers <= ONLY_IN[library]


def is_within_any(names, library):
    return any(is_within(name, {library}) for name in names)


def test_the_checker_sees_every_way_to_import(tmp_path):
    path = tmp_path / "sly.py"
    path.write_text(
        "import a.b\nfrom c import d\ndef f():\n    import e as g\n"
        "try:\n    from h.i import j\nexcept ImportError:\n    pass\n"
    )
    assert imports_of(path) == {"a.b", "c.d", "e", "h.i.j"}


def test_nothing_is_imported_by_name_behind_the_checkers_back():
    for package in ALLOWED:
        for path in modules_of(package):
            source = path.read_text()
            assert "__import__(" not in source, path
            assert "import_module(" not in source or package == "training", path


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# Imports modules while everything that they could do is watched: files, sockets, processes,
# threads, our settings. What the import machinery and the libraries do is not ours.
WATCH = """
import os, sys
root, names = sys.argv[1], sys.argv[2:]
sys.path.insert(0, root)
touched, is_looking = [], []
EVENTS = ("open", "socket.", "subprocess.", "os.", "shutil.", "urllib.")

def audit(event, args):
    if is_looking or not event.startswith(EVENTS) or event == "os.listdir":
        return
    if event == "os.putenv" and args[0] == b"ORT_DISABLE_TELEMETRY":  # model/__init__.py says why
        return
    is_looking.append(True)  # looking at frames is an event, too
    try:
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if "importlib" in name:
                return
            is_library = "/site-packages/" in name or "/lib/python" in name
            if is_library and "/site-packages/" in name:
                return
            if not is_library and name.startswith(root):
                touched.append(f"{name[len(root) + 1:]}: {event} {args[0]} {args[1:2]}")
                return
            frame = frame.f_back
    finally:
        is_looking.clear()

class Watched(type(os.environ)):
    def __getitem__(self, key):
        if str(key).startswith("DIGITS_"):
            touched.append(f"environment {key}")
        return super().__getitem__(key)

env = os.environ
os.environ = Watched(env._data, env.encodekey, env.decodekey, env.encodevalue, env.decodevalue)
sys.addaudithook(audit)
import importlib, threading
before = threading.active_count()
for name in names:
    importlib.import_module(name)
started = threading.active_count() - before
sys.stdout.write("\\n".join(touched))
if started:
    sys.stdout.write(f"\\n{started} threads")
"""


def import_and_watch(names):
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCH, str(ROOT), *names],
        cwd=ROOT.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["model", "serving", "training"])
def test_importing_a_module_does_nothing(package):
    names = [dotted(path) for path in modules_of(package) if path.name != "__main__.py"]
    assert import_and_watch(names) == ""


def test_the_watch_sees_a_module_that_does_something(tmp_path):
    (tmp_path / "busy.py").write_text(
        "import os, threading\n"
        "open('made', 'w').close()\n"
        "os.environ.get('DIGITS_PORT')\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCH, str(tmp_path), "busy"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "busy.py: open made ('w',)" in done.stdout
    assert "environment DIGITS_PORT" in done.stdout
    assert "1 threads" in done.stdout


def loaded_by(statement):
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import capture.record, capture.spool",
        "import serving.build",
        "import model.artifact",
    ],
)
def test_what_the_serving_image_lacks_is_not_loaded(statement):
    assert not loaded_by(statement) & HEAVY


# What the rails must not know of, or a service of another model would load it.
OF_DIGITS = {
    "model.artifact", "model.classifier", "model.decode", "model.preprocess", "serving.build",
    "serving.served_model", "serving.telemetry", "serving.edge.bento", "serving.reading.reader",
    "serving.reading.batch_reading", "serving.reading.capture_sink", "serving.reading.crop_cost",
    "serving.reading.preparing", "serving.reading.shadow", "serving.reading.site_watch",
    *(f"serving.api.{path.stem}" for path in (ROOT / "serving" / "api").glob("[!_]*.py")),
} - {"serving.api.probes"}  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/service.py")), ids=str)
def test_an_example_loads_nothing_that_knows_of_digits(path):
    missing = "tokenizers = type(sys)('tokenizers'); tokenizers.Tokenizer = None"  # in another venv
    code = f"import sys; {missing}; sys.modules.setdefault('tokenizers', tokenizers)"
    code += f"; import {dotted(path)}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "serving.edge.edge" in loaded
    assert not loaded & OF_DIGITS
    assert not {name.partition(".")[0] for name in loaded} & {"kornia_rs", "re2", "bentoml"}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/service.py")), ids=str)
def test_an_examples_service_is_short(path):
    assert len(path.read_text().splitlines()) <= 150


def test_no_example_is_in_the_image_or_imported_by_the_product():
    for name in ("bentofile.yaml", "deploy/Dockerfile"):
        assert "examples" not in (ROOT / name).read_text()
    for package in ALLOWED:
        for path in modules_of(package):
            assert not is_within_any(imports_of(path), "examples"), path


def test_making_a_key_loads_no_model():
    assert not loaded_by("import serving.keys") & {"onnxruntime", "numpy", "model"}


@pytest.mark.parametrize("package", ["model", "serving", "service.py"])
def test_a_main_part_only_runs_as_a_program(package):
    """No statement at the top of a module but definitions, imports, constants and the guard."""
    quiet = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
        ast.Assign, ast.AnnAssign,
    )  # fmt: skip
    for path in modules_of(package):
        for node in ast.parse(path.read_text()).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_guard = isinstance(node, ast.If) and ast.unparse(node.test) in (
                "__name__ == '__main__'",
                "TYPE_CHECKING",
            )
            assert isinstance(node, quiet) or is_docstring or is_guard, f"{path}:{node.lineno}"
