"""The model's command line: `python -m model explain crop.png` draws why a crop got its answer."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model import artifact
from model.classifier import Classifier
from model.decode import decode
from model.errors import CropError, ModelError
from model.explain import draw, explain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _explain(options)
    except (CropError, ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("explain", help="draw why a crop got its answer")
    command.add_argument("crop", type=Path, help="a PNG or JPEG file with one digit")
    command.add_argument(
        "--out", type=Path, help="the picture to write (default: <crop>.explained.png)"
    )
    command.add_argument(
        "--champion",
        type=Path,
        default=Path(os.path.relpath(artifact.CHAMPION)),
        help="champion folder (default: %(default)s)",
    )
    return parser


def _explain(options: argparse.Namespace) -> int:
    loaded = artifact.load(options.champion)
    crop = decode(options.crop.read_bytes())
    explanation = explain(crop, Classifier(loaded.onnx_bytes), loaded.policy())
    out: Path = options.out or options.crop.with_suffix(".explained.png")
    draw(explanation).save(out, "PNG")
    decision = explanation.decision
    verdict = "accepted" if decision.accepted else f"rejected: {decision.rejected_because}"
    print(f"{decision.digit} with confidence {decision.confidence:.4f}, {verdict}; see {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
