"""Makes an example's champion where there is none: `python -m examples.champion NAME`."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

MADE_BY: Final = {
    "text_pattern": "examples.text_pattern.train",
    "photo_tags": "examples.photo_tags.prepare",
    "product_similarity": "examples.product_similarity.prepare",
    "monthly_embeddings": "examples.monthly_embeddings.months",
}


def main() -> int:
    """Run the example's training, unless a champion is shipped or was made; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.champion", description=__doc__)
    parser.add_argument("name", choices=MADE_BY)
    name = parser.parse_args().name
    folders = (Path("examples") / name / "champion", Path(".work/examples") / name / "champion")
    if any((folder / "manifest.json").exists() for folder in folders):
        return 0
    command = [sys.executable, "-m", MADE_BY[name], "--why", "the first champion"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
