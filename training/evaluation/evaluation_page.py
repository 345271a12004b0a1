"""The evaluation report: one self-contained HTML page.

Pure: numbers and pictures in, text out. Knows nothing about files.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from training.evaluation.card import PICTURES, SET_NAMES
from training.evaluation.judge import Evaluation

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; display: block; overflow-x: auto }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d6dae0 }
th:first-child, td:first-child { text-align: left }
th { border-bottom: 2px solid #6b7480; font-weight: 600 }
figure { margin: 1rem 0; display: inline-block; vertical-align: top }
figcaption { color: #4a525c; font-size: .9rem }
img { max-width: 100% }
"""


def write_report(title: str, evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The whole page; pictures are PNG bytes by file name, and unknown names are left out."""
    figures = [_figure(pictures[name], caption) for name, caption in PICTURES if name in pictures]
    sections = [
        _table("Sets", SETS_HEAD, _set_rows(evaluation)),
        _table("By class, % right", ("set", *map(str, range(10))), _class_rows(evaluation)),
        _table(
            "By corruption and severity, % right",
            _severity_head(evaluation),
            _corruptions(evaluation),
        ),
        _table("Thresholds, fitted on validation", THRESHOLD_HEAD, _threshold_rows(evaluation)),
        _table("Not a digit", GARBAGE_HEAD, _garbage_rows(evaluation)) + _garbage_note(evaluation),
        _table("int8 against fp32", CHANGE_HEAD, _change_rows(evaluation)),
        _table("Inference, microseconds per digit, one thread", LATENCY_HEAD, _latency(evaluation)),
        "<h2>Pictures</h2>" + "".join(figures),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>"
        f"<p>Mean over the corruptions at severity 3: {evaluation.mean_corruption_accuracy:.2%}."
        f" Temperature {evaluation.temperature:.3f}. Model file {evaluation.size_bytes:,} bytes"
        f" (fp32 {evaluation.fp32_size_bytes:,}).</p>" + "".join(sections) + "</html>\n"
    )


SETS_HEAD = (
    "set",
    "crops",
    "accuracy",
    "95 % interval",
    "ECE",
    "accepted",
    "wrong among accepted",
    "accepted at 0.1 % error",
    "champion",
    "McNemar p",
)
THRESHOLD_HEAD = ("error target", "threshold", "accepted on validation")
GARBAGE_HEAD = ("kind", "refused by the head", "accepted in the end")
CHANGE_HEAD = ("set", "fp32", "int8", "labels flipped", "mean probability shift", "largest")
LATENCY_HEAD = ("batch", "fp32", "int8", "speed-up")


def _set_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for name, result in evaluation.sets.items():
        champion, p = result.champion_accuracy, result.mcnemar_p
        yield (
            SET_NAMES.get(name, name),
            f"{result.num:,}",
            f"{result.accuracy:.2%}",
            f"{result.accuracy_low:.2%} to {result.accuracy_high:.2%}",
            f"{result.ece:.2%}",
            f"{result.accepted_frac:.2%}",
            f"{result.accepted_error_frac:.3%}",
            f"{result.coverage_at_default_target:.2%}",
            "" if champion is None else f"{champion:.2%}",
            "" if p is None else f"{p:.3f}",
        )


def _class_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for name, result in evaluation.sets.items():
        values = (f"{100 * value:.1f}" for value in result.accuracy_by_class)
        yield (SET_NAMES.get(name, name), *values)


def _severity_head(evaluation: Evaluation) -> Sequence[str]:
    first = next(iter(evaluation.corruptions.values()), {})
    return ("corruption", *sorted(first))


def _corruptions(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for name, row in evaluation.corruptions.items():
        yield (name.replace("_", " "), *(f"{100 * row[key]:.1f}" for key in sorted(row)))


def _threshold_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for row in evaluation.thresholds:
        yield f"{row.error_target:.2%}", f"{row.threshold:.4f}", f"{row.accepted_frac:.2%}"


def _garbage_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    if evaluation.garbage is not None:
        accepted = evaluation.garbage.accepted_frac
        for kind, refused in evaluation.garbage.refused_frac.items():
            yield kind.replace("_", " "), f"{refused:.1%}", f"{accepted[kind]:.1%}"


def _garbage_note(evaluation: Evaluation) -> str:
    result = evaluation.garbage
    if result is None:
        return "<p>This network has no garbage head.</p>"
    return (
        f"<p>Against rendered digits: AUROC {result.auroc:.2%}; {result.fpr_at_95_tpr:.1%} of"
        " garbage passes where 95 % of digits do. Max-softmax alone: AUROC"
        f" {result.max_softmax_auroc:.2%}.</p>"
    )


def _change_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for name, change in (
        ("mnist", evaluation.quantisation),
        ("rendered", evaluation.rendered_quantisation),
    ):
        yield (
            SET_NAMES[name],
            f"{change.fp32_accuracy:.2%}",
            f"{change.int8_accuracy:.2%}",
            f"{change.flips_frac:.2%}",
            f"{change.mean_probability_shift:.4f}",
            f"{change.max_probability_shift:.3f}",
        )


def _latency(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    latency = evaluation.latency
    for size, fp32_us in latency.fp32_us.items():
        int8_us = latency.int8_us[size]
        yield size, f"{fp32_us:.1f}", f"{int8_us:.1f}", f"{fp32_us / int8_us:.2f}x"


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{html.escape(title)}</h2><table><tr>{cells}</tr>{body}</table>"


def _figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
