"""Where the demo keeps things in its folder, and the variables that lead programs there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import model

ROOT: Final = Path(model.__file__).parents[1]
GLYPHS: Final = ROOT / "tests" / "data" / "crops"
# In the demo's folder.
CHAMPION: Final = Path("model") / "champion"
FORMER: Final = Path("former")
STORE: Final = Path("model-store")
WORK: Final = Path("train")
AUDIT_FRAC: Final = 0.05  # of accepted crops, so that a month has enough audits to show


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in the demo's folder."""

    folder: Path  # absolute

    def environment(self, *, service_port: int, reports_port: int) -> dict[str, str]:
        """The variables that lead every program to this folder, and to no other."""
        inside = {
            "DIGITS_CAPTURE_DIR": "spool",
            "DIGITS_CAPTURE_STORE": "captures",
            "DIGITS_REPORTS": "reports",
            "DIGITS_DATA_STORE": "data",
            "DIGITS_DATA_CACHE": "mnist",
            "DIGITS_MODEL_STORE": str(STORE),
            "DIGITS_CHAMPION": str(CHAMPION),
            "DIGITS_TRAINING_WORK": str(WORK),
            "DIGITS_POSTCODES": "postcodes.txt",
        }
        return {name: str(self.folder / path) for name, path in inside.items()} | {
            "DIGITS_HOST": "127.0.0.1",
            "DIGITS_PORT": str(service_port),
            "DIGITS_DRAIN_S": "0",
            "DIGITS_AUDIT_FRAC": str(AUDIT_FRAC),
            "DIGITS_REPORTS_URL": f"http://127.0.0.1:{reports_port}",
            "DIGITS_ALERTS": f"file:{self.folder / 'alerts.jsonl'}",
            "DIGITS_CONSOLE_DATABASE": f"sqlite:///{self.folder / 'console.db'}",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "PYTHONPATH": str(ROOT),
        }
