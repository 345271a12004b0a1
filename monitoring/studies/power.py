"""Measure false alarms and power of the drift rules: docs/measurements/drift-power-*.md.

The reference is made as training makes it, from validation digits as ordinary mail. Windows are
drawn from test digits, whose writers the reference has not seen: clean windows measure the false
alarms, windows with one corruption measure the power. All crops take the production path:
preprocessing, champion, capture record, Parquet row, rules.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from capture import reference
from capture.labels import LABEL_SCHEMA
from capture.rows import to_table
from monitoring import drift
from monitoring.findings import Severity
from monitoring.rules import assess
from monitoring.studies import champion_reader, simulated_mail
from training.data import fonts, garbage
from training.data.corruptions import CORRUPTIONS
from training.data.datasets import LabelledImages
from training.data.render import render_digits

PARTS: Final = ("windows", "sites")
DAY: Final = date(2026, 11, 20)
SIZES: Final = (500, 2000)
CLEAN_POOL: Final = 10_000
POOL: Final = 3_000
CORRUPTION_SEVERITY: Final = 3
LENS_SEVERITY: Final = 4
SITE_RECORDS: Final = 250
DIRTY: Final = "dirty"
Draw = Callable[[int, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of windows in which the rules fired."""

    watch: float  # at least WATCH
    act: float
    fired: dict[str, float]  # by rule


def rows_of(
    reader: champion_reader.Reader, crops: champion_reader.Crops, seed: int
) -> pd.DataFrame:
    """Read crops and give their records the columns that the rules compare."""
    records = reader.read(crops, site="all", day=DAY, seed=seed)
    captured = to_table(records).drop_columns(["image_png", "crop_png"]).to_pandas()
    captured["site"] = "all"
    return drift.prepare(captured, LABEL_SCHEMA.empty_table().to_pandas())


def draw_from(pool: pd.DataFrame) -> Draw:
    """Draw a window from one pool, without replacement."""
    return lambda num, rng: pool.iloc[rng.permutation(len(pool))[:num]]


def mixed(clean: pd.DataFrame, other: pd.DataFrame, share: float) -> Draw:
    """Draw a window in which this share comes from another pool."""

    def draw(num: int, rng: np.random.Generator) -> pd.DataFrame:
        num_other = round(num * share)
        parts = [draw_from(other)(num_other, rng), draw_from(clean)(num - num_other, rng)]
        return pd.concat(parts, ignore_index=True)

    return draw


def class_doubled(clean: pd.DataFrame, digit: str) -> Draw:
    """Draw a window in which one digit is twice as likely."""

    def draw(num: int, rng: np.random.Generator) -> pd.DataFrame:
        weight = np.where(clean["digit"] == digit, 2.0, 1.0)
        chosen = rng.choice(len(clean), num, replace=False, p=weight / weight.sum())
        return clean.iloc[chosen]

    return draw


def sites(clean: pd.DataFrame, num_sites: int, dirty: pd.DataFrame, num_dirty: int) -> Draw:
    """Draw a window of sites of equal size; the first ones have a dirty lens."""

    def draw(_: int, rng: np.random.Generator) -> pd.DataFrame:
        parts = [
            draw_from(dirty if n < num_dirty else clean)(SITE_RECORDS, rng).assign(
                site=f"{DIRTY if n < num_dirty else 'clean'} {n:02d}"
            )
            for n in range(num_sites)
        ]
        return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=rng)

    return draw


def measure(draw: Draw, num: int, made: reference.Reference, repeats: int) -> Rates:
    """Judge many windows of one size."""
    fired: Counter[str] = Counter()
    severities = []
    for repeat in range(repeats):
        assessment = assess(draw(num, np.random.default_rng([num, repeat])), made)
        severities.append(assessment.severity)
        fired.update({finding.rule for finding in assessment.findings})
    return Rates(
        watch=float(np.mean([s >= Severity.WATCH for s in severities])),
        act=float(np.mean([s == Severity.ACT for s in severities])),
        fired={rule: count / repeats for rule, count in sorted(fired.items())},
    )


def measure_sites(draw: Draw, made: reference.Reference, repeats: int) -> tuple[float, float]:
    """Mean number of dirty and of clean sites that the rules name."""
    found, wrong = 0, 0
    for repeat in range(repeats):
        assessment = assess(draw(0, np.random.default_rng(repeat)), made)
        named = [one.site for one in assessment.sites if one.named]
        num_dirty = sum(site.startswith(DIRTY) for site in named)
        found += num_dirty
        wrong += len(named) - num_dirty
    return found / repeats, wrong / repeats


def scenarios(reader: champion_reader.Reader, clean: pd.DataFrame) -> dict[str, Draw]:
    """Every kind of window by the name that the table gives it."""
    crops, _ = simulated_mail.ordinary_mail(POOL, seed=3)
    made: dict[str, Draw] = {"clean": draw_from(clean)}
    for place, name in enumerate(CORRUPTIONS):
        spoiled = simulated_mail.spoil(crops, name, CORRUPTION_SEVERITY, seed=place)
        made[f"all crops: {name.replace('_', ' ')}"] = draw_from(rows_of(reader, spoiled, place))
        print(f"# rendered {name}", file=sys.stderr)
    uci = load_digits()
    images = (uci.images * (255 / 16)).astype(np.uint8)
    enlarged = np.stack([np.kron(image, np.ones((3, 3), np.uint8)) for image in images])
    framed = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    other, _ = render_digits(
        LabelledImages(framed, uci.target.astype(np.uint8)),
        severity=simulated_mail.SEVERITY,
        seed=5,
    )
    source = rows_of(reader, other, 50)
    made["new source: UCI digits"] = draw_from(source)
    made["20 % from that source"] = mixed(clean, source, 0.2)
    found = fonts.find_fonts()
    letters = fonts.draw_letters(found.held_out) if found else None
    if letters is not None:
        material = garbage.Material(simulated_mail.mnist().test, letters)
        drawn = garbage.draw_kind("letter", material, 1_000, np.random.default_rng(8))
        made["5 % letters"] = mixed(clean, rows_of(reader, drawn, 51), 0.05)
    made["one class doubled"] = class_doubled(clean, "7")
    return made


def print_windows(
    reader: champion_reader.Reader, made: reference.Reference, clean: pd.DataFrame, repeats: int
) -> None:
    """Print the table of windows."""
    print(f"Model {reader.version}; {repeats} windows of each size, 500 / 2000 records.\n")
    print("| window | watch or act | act | rules that fired at 2000 (share of windows) |")
    print("|---|---|---|---|")
    for name, draw in scenarios(reader, clean).items():
        times = repeats * (3 if name == "clean" else 1)
        small, large = (measure(draw, size, made, times) for size in SIZES)
        rules = ", ".join(f"{rule} {share:.2f}" for rule, share in large.fired.items()) or "none"
        print(
            f"| {name} | {small.watch:.2f} / {large.watch:.2f} "
            f"| {small.act:.2f} / {large.act:.2f} | {rules} |",
            flush=True,
        )


def print_sites(
    reader: champion_reader.Reader, made: reference.Reference, clean: pd.DataFrame, repeats: int
) -> None:
    """Print the table of sites."""
    crops, _ = simulated_mail.ordinary_mail(POOL, seed=3)
    blurred = rows_of(reader, simulated_mail.spoil(crops, "blur", LENS_SEVERITY, seed=9), 60)
    striped = rows_of(reader, simulated_mail.spoil(crops, "stripes", LENS_SEVERITY, seed=9), 61)
    print(f"Model {reader.version}; {repeats} days, {SITE_RECORDS} records of each site.\n")
    print("| sites | dirty sites named, mean | clean sites named, mean |\n|---|---|---|")
    for text, draw in {
        "10, all clean": sites(clean, 10, blurred, 0),
        "10, one lens blurred": sites(clean, 10, blurred, 1),
        "10, one lens striped": sites(clean, 10, striped, 1),
        "10, five lenses blurred": sites(clean, 10, blurred, 5),
        "50, all clean": sites(clean, 50, blurred, 0),
        "50, one lens blurred": sites(clean, 50, blurred, 1),
    }.items():
        found, wrong = measure_sites(draw, made, repeats)
        print(f"| {text} | {found:.2f} | {wrong:.2f} |", flush=True)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.studies.power",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="tables to print")
    parser.add_argument("--repeats", type=int, default=100, help="windows of each kind and size")
    parser.add_argument("--site-repeats", type=int, default=20, help="days of each set of sites")
    options = parser.parse_args()
    reader = champion_reader.Reader()
    made = reference.build(reader.predict(*simulated_mail.reference_mail()))
    crops, _ = simulated_mail.ordinary_mail(CLEAN_POOL, seed=2)
    clean = rows_of(reader, crops, 99)
    if "windows" in options.parts:
        print_windows(reader, made, clean, options.repeats)
    if "sites" in options.parts:
        print_sites(reader, made, clean, options.site_repeats)


if __name__ == "__main__":
    main()
