"""Reading mail tells nobody: the libraries' own reports home are off before they are loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["model.classifier", "serving.build", "training.steps.evaluate"])
def test_loading_onnxruntime_leaves_no_device_id_in_the_home_folder(tmp_path, module):
    environment = {name: value for name, value in os.environ.items() if "ORT_" not in name}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = f"import {module}, onnxruntime"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment | home, check=True)
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name] == []
