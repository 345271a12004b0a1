"""Record runs in MLflow and move aliases in its registry. The only importer of mlflow.

Edge: talks to the tracking server: SQLite in the working folder by default, any server by
MLFLOW_TRACKING_URI. Knows nothing about how the numbers are made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature

DEFAULT_DATABASE = Path("mlflow.db")
ARTIFACTS = Path("mlartifacts")  # beside the SQLite file; a server has its own storage
EXPERIMENT = "digits"
MODEL = "digits"
FP32_MODEL = "digits-fp32"  # kept beside the served model, never served
CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of the registered model."""

    version: str
    run_id: str
    tags: Mapping[str, str]


def connect(uri: str | None = None, *, experiment: str = EXPERIMENT) -> str:
    """Select the server; create its database and the experiment where they do not exist.

    Several trainers may do this at once: on one SQLite file one of them creates, the others wait.
    A tracking server creates its own database, before trainers reach it.

    Args:
        uri: tracking server; None means MLFLOW_TRACKING_URI or SQLite in the working folder.
        experiment: in which the runs are.

    Returns:
        The URI in use.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with _one_at_a_time(uri):  # MLflow opens the database at the first request: tables, migrations
        _create_experiment(uri, experiment)
    mlflow.set_experiment(experiment)
    return uri


def default_uri() -> str:
    """SQLite in the working folder, by its whole path, because MLflow caches one store per URI."""
    return f"sqlite:///{DEFAULT_DATABASE.resolve()}"


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Hold the lock of the database that a URI names, among the processes of this host.

    MLflow locks nothing while it creates its tables: the second process finds half of them. The
    lock file of an SQLite database lies beside it, because both are on the disk that is shared;
    that of another database lies in the temporary folder. A server's URI needs none.
    """
    if uri.startswith(("http:", "https:")):
        yield
        return
    with _lock_path(uri).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, even when it is killed
        yield


def _lock_path(uri: str) -> Path:
    database = uri.removeprefix("sqlite:///").partition("?")[0]
    if uri.startswith("sqlite:///") and database:
        path = Path(database).resolve()
        return path.with_name(f"{path.name}.lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"digitline-mlflow-{os.getuid()}-{name}.lock"


def _create_experiment(uri: str, experiment: str) -> None:
    """Create the experiment; another host's trainer may be faster, which is as good."""
    if mlflow.get_experiment_by_name(experiment) is not None:
        return
    place = ARTIFACTS.resolve().as_uri() if uri.startswith("sqlite:") else None
    try:
        mlflow.create_experiment(experiment, artifact_location=place)
    except MlflowException:
        if mlflow.get_experiment_by_name(experiment) is None:
            raise


@contextmanager
def run(*, name: str | None = None, run_id: str | None = None) -> Iterator[str]:
    """Open a new run, or reopen one by its id; yields the id."""
    with mlflow.start_run(run_id=run_id, run_name=name) as active:
        run_identity: str = active.info.run_id
        yield run_identity


def log_config(config: object, *, prefix: str) -> None:
    """Log a config dataclass as parameters, nested ones by dotted names."""
    mlflow.log_params(dict(_flat(asdict(config), prefix)))  # type: ignore[call-overload]


def log_tags(tags: Mapping[str, str]) -> None:
    """Log facts that are not settings: commit, library versions, checksums."""
    mlflow.set_tags(dict(tags))


def log_metrics(metrics: Mapping[str, float], *, step: int | None = None) -> None:
    """Log numbers, those of one epoch with its `step`."""
    mlflow.log_metrics(dict(metrics), step=step)


def page_of(run_id: str) -> str:
    """Address of a run's page; its id where there is no server to show it."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return f"MLflow run {run_id}"
    experiment = mlflow.get_run(run_id).info.experiment_id
    return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


def log_dataset(name: str, *, version: str, place: str) -> None:
    """Show which data version a run was trained on, in MLflow's column Dataset.

    Args:
        name: of the data set.
        version: at most 36 characters.
        place: of the snapshot, a folder or s3://bucket/prefix.
    """
    dataset = MetaDataset(resolve_dataset_source(place), name=name, digest=version)
    mlflow.log_input(dataset, context="training")


def log_file(path: Path, *, folder: str | None = None) -> None:
    """Keep a file with the run."""
    mlflow.log_artifact(str(path), artifact_path=folder)


def fetch_files(run_id: str, source: Path, folder: Path) -> bool:
    """Download a folder of a run's files into a local folder; False if there is none."""
    try:
        if not mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path=str(source)):
            return False
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # no such run
            return False
        raise
    with tempfile.TemporaryDirectory() as name:
        place = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=str(source), dst_path=name
        )
        shutil.copytree(place, folder, dirs_exist_ok=True)
    return True


def register(
    path: Path, *, model: str, example: Mapping[str, np.ndarray], tags: Mapping[str, str]
) -> Registered:
    """Log an ONNX file with signature and input example, and register it.

    Args:
        path: a self-contained ONNX file.
        model: name in the registry.
        example: an input of the model, by name; one row.
        tags: of the new version.
    """
    proto = onnx.load(path)
    outputs = {
        value.name: np.zeros(
            [1, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])], np.float32
        )
        for value in proto.graph.output
    }
    info = mlflow.onnx.log_model(
        proto,
        name=path.stem,
        signature=infer_signature(dict(example), outputs),
        input_example=dict(example),
        registered_model_name=model,
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        # Without this list MLflow loads the model in another process to make one.
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")],
    )
    number = str(info.registered_model_version)
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(model, number, key, value)
    return _registered(client.get_model_version(model, number))


def set_alias(version: str, alias: str, *, model: str = MODEL) -> None:
    """Point an alias at a version; the version that had it stays registered."""
    mlflow.MlflowClient().set_registered_model_alias(model, alias, version)


def find_by_run(run_id: str, *, model: str = MODEL) -> Registered | None:
    """The newest version of a model that a run registered, or None."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    return _registered(max(found, key=lambda one: int(one.version))) if found else None


def find_alias(alias: str) -> Registered | None:
    """The version that an alias names, or None."""
    try:
        return _registered(mlflow.MlflowClient().get_model_version_by_alias(MODEL, alias))
    except MlflowException as error:
        # MLflow answers INVALID_PARAMETER_VALUE, not 404, for a missing alias.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def find_gated_run(tag: str, value: str) -> str | None:
    """The id of the newest run that has this tag and reached the gate, or None."""
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() makes it"
    runs = mlflow.MlflowClient().search_runs(
        [experiment.experiment_id], f"tags.`{tag}` = '{value}'", order_by=["start_time DESC"]
    )
    gated: list[str] = [found.info.run_id for found in runs if "gate" in found.data.tags]
    return gated[0] if gated else None


def fetch_onnx(version: str, folder: Path) -> bytes:
    """Download a registered version's ONNX file into a folder and read it."""
    place = mlflow.artifacts.download_artifacts(
        artifact_uri=f"models:/{MODEL}/{version}", dst_path=str(folder)
    )
    return (Path(place) / "model.onnx").read_bytes()


def _registered(found: ModelVersion) -> Registered:
    return Registered(str(found.version), str(found.run_id), dict(found.tags))


def _flat(nested: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in nested.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value
