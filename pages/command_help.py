"""Print docs/commands.md: what each program says for --help.

python -m pages.command_help > docs/commands.md
"""

import os
import re
import subprocess
import sys
from typing import Final

PROGRAMS: Final = (
    "serving.keys", "console", "bulk", "bulk read", "monitoring", "training",
    "model", "loadtest",
)  # fmt: skip
_HEAD: Final = """# Commands

Written by `python -m pages.command_help`. Settings of `python -m serving` are in
[configuration.md](configuration.md), its options in `python -m serving --help`.
`python -m infra --help` needs `.venv-infra`. `make help` lists the targets.
The SDK's `digitline` is in
[its README](../sdk/README.md#command-line). Each command of a program has its own `--help`.
"""


def help_of(program: str) -> str:
    """What a program prints for --help, at 100 columns."""
    done = subprocess.run(
        [sys.executable, "-m", *program.split(), "--help"],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    return re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).strip()


def to_markdown() -> str:
    """The page."""
    parts = [f"\n## python -m {one}\n\n```text\n{help_of(one)}\n```\n" for one in PROGRAMS]
    return _HEAD + "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
