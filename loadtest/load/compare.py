"""`python -m loadtest compare`: compare two runs."""

import json
from pathlib import Path
from typing import Any

from loadtest import command_line


def main(arguments: list[str]) -> int:
    """Print every finding of two runs, its change, and whether it fails now."""
    parser = command_line.parser("compare", main.__doc__)
    parser.add_argument("before", type=Path, help="JSON file of the first run")
    parser.add_argument("after", type=Path, help="JSON file of the second run")
    chosen = parser.parse_args(arguments)
    before, after = (json.loads(path.read_text()) for path in (chosen.before, chosen.after))
    print(compare_text(before, after))
    return 0


def compare_text(before: dict[str, Any], after: dict[str, Any]) -> str:
    """One line per finding: both values, the change, and whether it fails now.

    Raises:
        ValueError: the runs had different shapes or tools.
    """
    for name in ("shape", "tool"):
        if before[name] != after[name]:
            raise ValueError(
                f"the runs cannot be compared: {name} is {before[name]!r} and {after[name]!r}"
            )
    old = {row["question"]: row for row in before["findings"]}
    lines = [f"{before['date']} {before['commit']} -> {after['date']} {after['commit']}"]
    for row in after["findings"]:
        was = old.get(row["question"])
        if was is None or was["value"] is None or row["value"] is None:
            lines.append(f"{row['question']:40} {was and was['value']!s:>12} {row['value']!s:>12}")
            continue
        change = row["value"] / was["value"] - 1 if was["value"] else 0.0
        failure = "" if was["passed"] == row["passed"] else "  FAILS NOW" * (not row["passed"])
        lines.append(
            f"{row['question']:40} {was['value']:>12.4f} {row['value']:>12.4f} {change:+8.1%}"
            f"{failure}"
        )
    return "\n".join(lines)
