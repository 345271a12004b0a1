"""Pictures for MLflow, the model card and the report: matplotlib figures as PNG bytes.

Pure: numbers in, bytes out. Knows nothing about where they go.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics

from training.evaluation.confidence import Reliability, RiskCoverage
from training.fitting import Epoch

DPI = 100


def learning_curves(history: Sequence[Epoch]) -> bytes:
    """Loss and validation accuracy by epoch."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row.epoch + 1 for row in history]
    left.plot(epochs, [row.train_loss for row in history], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(
        epochs, [100 * row.validation_accuracy for row in history], marker=".", label="clean"
    )
    rendered = [row.rendered_validation_accuracy for row in history]
    if None not in rendered:
        right.plot(epochs, [100 * (value or 0) for value in rendered], marker=".", label="rendered")
    right.set(xlabel="epoch", ylabel="validation accuracy, %")
    right.legend()
    return _png(figure)


def confusion_matrix(labels: NDArray[np.uint8], digits: NDArray[np.intp]) -> bytes:
    """Counts of label against answer; the diagonal has no colour, so that mistakes stand out."""
    counts = metrics.confusion_matrix(labels, digits, labels=range(10))
    mistakes = counts - np.diag(np.diag(counts))
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges")
    axes.grid(visible=False)
    for row, column in np.ndindex(10, 10):
        if counts[row, column]:
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
    axes.set(xlabel="answer", ylabel="label", xticks=range(10), yticks=range(10))
    return _png(figure)


def mistakes(
    batch: NDArray[np.float32],
    labels: NDArray[np.uint8],
    digits: NDArray[np.intp],
    confidence: NDArray[np.float64],
    *,
    num: int = 32,
) -> bytes:
    """The most confident mistakes."""
    wrong = np.flatnonzero(digits != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:num]
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    for position, axes in enumerate(figure.subplots(4, 8).flat):
        axes.set_axis_off()
        if position < len(worst):
            row = worst[position]
            axes.imshow(batch[row, 0], cmap="gray_r", vmin=0, vmax=1)
            title = f"{labels[row]} read as {digits[row]}\n{confidence[row]:.2f}"
            axes.set_title(title, fontsize=7)
    return _png(figure)


def confusion_pairs(
    batch: NDArray[np.float32],
    labels: NDArray[np.uint8],
    digits: NDArray[np.intp],
    *,
    num_pairs: int = 8,
    num_examples: int = 10,
) -> bytes:
    """The most frequent wrong label-answer pairs, a row of examples each."""
    wrong = np.flatnonzero(digits != labels)
    pairs, counts = np.unique(labels[wrong] * 10 + digits[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:num_pairs]
    figure = Figure(figsize=(8, 0.85 * num_pairs), layout="constrained")
    cells = figure.subplots(num_pairs, num_examples)
    for axes in cells.flat:
        axes.set_axis_off()
    for row, position in enumerate(order):
        label, digit = divmod(int(pairs[position]), 10)
        rows = wrong[(labels[wrong] == label) & (digits[wrong] == digit)][:num_examples]
        cells[row, 0].set_title(f"{label} as {digit}: {counts[position]}", fontsize=7, loc="left")
        for column, index in enumerate(rows):
            cells[row, column].imshow(batch[index, 0], cmap="gray_r", vmin=0, vmax=1)
    return _png(figure)


def reliability_diagram(curves: Mapping[str, Reliability]) -> bytes:
    """Accuracy against confidence; on the diagonal the two are equal."""
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, curve in curves.items():
        used = curve.num > 0
        label = f"{name}, ECE {curve.ece:.2%}"
        axes.plot(curve.confidence[used], curve.accuracy[used], marker="o", ms=3, label=label)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return _png(figure)


def risk_coverage_curves(curves: Mapping[str, RiskCoverage]) -> bytes:
    """Share of accepted reads that are wrong, for each share accepted."""
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(100 * curve.coverage, 100 * np.maximum(curve.risk, 1e-5), label=name)
    axes.axhline(0.1, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="accepted, %", ylabel="wrong among accepted, %", yscale="log", xlim=(50, 100))
    axes.set_ylim(0.005, 20)
    axes.legend()
    return _png(figure)


def corruption_grid(corruptions: Mapping[str, Mapping[str, float]]) -> bytes:
    """Accuracy by corruption and severity."""
    names = list(corruptions)
    values = np.array([[100 * row[key] for key in sorted(row)] for row in corruptions.values()])
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="RdYlGn", vmin=85, vmax=100, aspect="auto")
    axes.grid(visible=False)
    for row, column in np.ndindex(*values.shape):
        text = f"{values[row, column]:.1f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    axes.set(xlabel="severity", xticks=range(values.shape[1]), yticks=range(len(names)))
    axes.set_xticklabels([str(severity) for severity in sorted(corruptions[names[0]])])
    axes.set_yticklabels(names)
    return _png(figure)


def harm_examples(
    wrong: Mapping[str, Sequence[tuple[NDArray[np.float32], int, int]]], *, num_examples: int = 12
) -> bytes:
    """Damaged crops that were accepted and wrong, a row for each kind that has any.

    Args:
        wrong: kind of damage -> (28, 28) image, label (above 9: no digit), answer.
        num_examples: at most, of each kind.
    """
    kinds = [kind for kind in sorted(wrong, key=lambda kind: -len(wrong[kind])) if wrong[kind]]
    num_rows = max(1, len(kinds))
    figure = Figure(figsize=(9, 0.8 * num_rows), layout="constrained")
    cells = figure.subplots(num_rows, num_examples, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for row, kind in enumerate(kinds):
        text = f"{kind.replace('_', ' ')}: {len(wrong[kind])}"
        for column, (image, label, digit) in enumerate(wrong[kind][:num_examples]):
            cells[row, column].imshow(image, cmap="gray_r", vmin=0, vmax=1)
            read = f"{label if label < 10 else '-'} as {digit}"
            title = f"{text}\n{read}" if column == 0 else read
            cells[row, column].set_title(title, fontsize=6, loc="left")
    return _png(figure)


def differences(
    rows: Sequence[tuple[NDArray[np.uint8], int | None, int | None, int | None]],
    *,
    num_examples: int = 60,
) -> bytes:
    """Crops that two models read differently, in the order given.

    Args:
        rows: (28, 28) image, label (None: nobody has keyed it), answers of champion and candidate.
        num_examples: at most.
    """
    shown = rows[:num_examples]
    num_columns = min(12, len(shown))
    num_rows = -(-len(shown) // num_columns)
    figure = Figure(figsize=(0.8 * num_columns, 0.95 * num_rows), layout="constrained")
    cells = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, (image, label, champion, candidate) in zip(cells.flat, shown, strict=False):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        keyed = "not keyed" if label is None else f"is {label}"
        axes.set_title(f"{champion} or {candidate}\n{keyed}", fontsize=6, loc="left")
    return _png(figure)


def garbage_roc(garbage: Mapping[str, NDArray[np.floating]], digits: NDArray[np.floating]) -> bytes:
    """Garbage refused against digits refused, for each kind of garbage."""
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    limits = np.quantile(digits, np.linspace(0, 1, 400))
    lost = np.array([(digits > limit).mean() for limit in limits])
    for name, scores in garbage.items():
        caught = np.array([(scores > limit).mean() for limit in limits])
        axes.plot(100 * lost, 100 * caught, label=name)
    axes.set(xlabel="digits refused, %", ylabel="garbage refused, %", xlim=(0, 20), ylim=(0, 101))
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Without the Software tag the bytes depend on the numbers alone.
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()
