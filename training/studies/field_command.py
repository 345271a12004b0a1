"""Command `field`: how many made-up fields of held-out digits the served model reads right.

Edge: reads MNIST, Semeion and the champion, runs Tesseract, prints tables, writes a contact sheet.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import artifact
from model.classifier import Classifier
from model.decision import Policy, decide, softmax
from model.errors import CropError
from model.field import FieldReading, Possible, read_at_once
from model.preprocess import preprocess
from training.config import DataConfig, FieldConfig
from training.data.datasets import LabelledImages, load_mnist
from training.data.semeion import load_semeion
from training.studies import field_fit, field_sheet
from training.studies.field_strings import DrawnField, draw_field, draw_writing

logger = logging.getLogger(__name__)

NUM_CODES = 40_000  # of the made-up directory
NUM_TIMED = 100
TIMED_SHAPE = (150, 600)
HEADER = (
    "| fields | perfect cuts right | right | share of it | accepted (perfect cuts)"
    " | wrong among accepted | mended by a directory | Tesseract right |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One row of the table."""

    name: str
    length: int
    num_touching: int | None  # None: each pair with a chance of 0.2
    has_dash: bool = False


KINDS = (
    _Kind("5 digits, apart", 5, 0),
    _Kind("5 digits, one pair touches", 5, 1),
    _Kind("5 digits, 20 % of the pairs touch", 5, None),
    _Kind("9 digits and a dash, apart", 9, 0, has_dash=True),
)


@dataclass(frozen=True, slots=True)
class _Result:
    """One field, read."""

    drawn: DrawnField
    reading: FieldReading | None  # None: refused, with `refusal`
    refusal: str
    is_ceiling_right: bool
    is_ceiling_accepted: bool
    with_directory: str  # the code; empty: none
    is_known: bool  # the code that was read is one of the directory

    @property
    def code(self) -> str:
        return self.reading.candidates[0][0] if self.reading and self.reading.candidates else ""

    @property
    def is_right(self) -> bool:
        return self.code == self.drawn.code

    @property
    def is_accepted(self) -> bool:
        return self.reading is not None and self.reading.rejected_because is None


def run(data: DataConfig, champion: Path, config: FieldConfig) -> None:
    """Print a row for each kind of field and source, the time, and draw failures.

    Raises:
        DataError: MNIST or Semeion cannot be read.
    """
    served = artifact.load(champion)
    reader = _Reader(Classifier(served.onnx_bytes), served.policy())
    mnist = load_mnist(data)
    if config.fit:
        only_cuts = config.fit == "cuts"
        sources = [mnist.train] if only_cuts else [mnist.train, mnist.train, mnist.validation]
        fitted, mean = field_fit.fit(
            reader.classifier,
            reader.policy,
            sources,
            config.num_fields,
            config.seed,
            only_cuts=only_cuts,
        )
        print(f"weights {np.round(fitted, 2).tolist()}, mean log probability {mean:.3f}")
        return
    sets = {"MNIST test": mnist.test}
    semeion = load_semeion(data.cache, data.semeion)
    if semeion is not None:
        # Its file is in the order of digits, not of writers.
        order = np.random.default_rng(config.seed).permutation(len(semeion))
        sets["Semeion"] = semeion.take(order)
    print(HEADER, flush=True)
    failed: list[tuple[DrawnField, FieldReading | None, str]] = []
    for source, digits in sets.items():
        for kind in KINDS:
            results = list(reader.read_all(digits, kind, config))
            print(_row(f"{source}: {kind.name}", results), flush=True)
            failed += [
                (one.drawn, one.reading, one.refusal)
                for one in results
                if one.is_ceiling_right and not one.is_right
            ][: field_sheet.NUM_OF_A_KIND]
    field_sheet.draw(failed).save(config.picture, optimize=True)
    print(f"\nfailures in {config.picture}\n\n{reader.time(mnist.test, config.seed)}")


class _Reader:
    """Reads drawn fields as the service does."""

    def __init__(self, classifier: Classifier, policy: Policy) -> None:
        self.classifier, self.policy = classifier, policy
        self.inference_s, self.num_pieces = 0.0, 0

    def read_all(
        self, digits: LabelledImages, kind: _Kind, config: FieldConfig
    ) -> Iterator[_Result]:
        rng = np.random.default_rng(config.seed)
        for _ in range(config.num_fields):
            row = int(rng.integers(len(digits) - kind.length))
            writing = draw_writing(rng)
            if kind.num_touching and writing.form == "cells":
                writing = replace(writing, form="none")  # digits in cells do not touch
            drawn = draw_field(
                digits,
                np.arange(row, row + kind.length),
                rng,
                writing=writing,
                num_touching=kind.num_touching,
                has_dash=kind.has_dash,
            )
            yield self._read(drawn, rng)

    def _read(self, drawn: DrawnField, rng: np.random.Generator) -> _Result:
        batch = np.stack([preprocess(crop) for crop in drawn.crops])
        alone = decide(self.classifier(batch), self.policy)
        directory = _draw_directory(drawn.code, rng)
        reading, refusal, with_directory = None, "", ""
        try:
            reading = self.read(drawn.field, len(drawn.code), None)
            known = self.read(drawn.field, len(drawn.code), _possible(directory))
            with_directory = known.candidates[0][0] if known.candidates else ""
        except CropError as error:
            refusal = type(error).__name__
        code = reading.candidates[0][0] if reading and reading.candidates else ""
        return _Result(
            drawn,
            reading,
            refusal,
            is_ceiling_right="".join(str(one.digit) for one in alone) == drawn.code,
            is_ceiling_accepted=all(one.accepted for one in alone),
            with_directory=with_directory,
            is_known=bool(code) and int(code) in directory,
        )

    def read(
        self, field: NDArray[np.uint8], num_digits: int, possible: Possible | None
    ) -> FieldReading:
        return read_at_once(
            field,
            self._score,
            num_digits=(num_digits, num_digits),
            possible=possible,
            threshold=self.policy.threshold,
            garbage_threshold=self.policy.garbage_threshold,
        )

    def _score(
        self, images: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
        start = time.thread_time()
        scores = self.classifier(images)
        self.inference_s += time.thread_time() - start
        self.num_pieces += len(images)
        return softmax(scores.logits, self.policy.temperature), scores.garbage

    def time(self, digits: LabelledImages, seed: int) -> str:
        """Processor time of each step for fields of 600x150 px, and of five single crops."""
        rng = np.random.default_rng(seed)
        spent, pieces = np.zeros((NUM_TIMED, 3)), []
        for number in range(NUM_TIMED):
            row = int(rng.integers(len(digits) - 5))
            drawn = draw_field(digits, np.arange(row, row + 5), rng)
            field = _fitted(drawn.field, TIMED_SHAPE)
            self.inference_s, self.num_pieces = 0.0, 0
            start = time.thread_time()
            with contextlib.suppress(CropError):
                self.read(field, 5, None)
            end = time.thread_time()
            decide(self.classifier(np.stack([preprocess(c) for c in drawn.crops])), self.policy)
            crops = time.thread_time() - end
            spent[number] = end - start - self.inference_s, self.inference_s, crops
            pieces.append(self.num_pieces)
        whole = np.percentile(spent[:, :2].sum(axis=1), (50, 95)) * 1e3
        read_ms, inference_ms, crops_ms = np.mean(1e3 * spent, axis=0)
        return (
            f"600x150 px, five digits, {NUM_TIMED} fields, 20 % of the pairs touch: median "
            f"{whole[0]:.1f} ms, 95 % within {whole[1]:.1f} ms; in the mean {inference_ms:.1f} ms "
            f"inference of {np.mean(pieces):.0f} pieces, {read_ms:.1f} ms everything else; "
            f"the five crops alone {crops_ms:.1f} ms"
        )


def _fitted(field: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A field of another size, with the same digits' shape and paper beside it."""
    scale = min(shape[0] / field.shape[0], shape[1] / field.shape[1])
    size = [max(1, int(side * scale)) for side in field.shape[::-1]]
    fitted = np.asarray(Image.fromarray(field).resize(size))
    free = [whole - side for whole, side in zip(shape, fitted.shape, strict=True)]
    return np.pad(fitted, [(side // 2, side - side // 2) for side in free], mode="edge")


def _draw_directory(code: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """40,000 random codes and the true one, sorted."""
    drawn = rng.integers(0, 10 ** len(code), NUM_CODES, dtype=np.int64)
    return np.unique(np.append(drawn, int(code)))


def _possible(codes: NDArray[np.int64]) -> Possible:
    """As `serving.api.codes.Postcodes.possible`, for codes of one length."""

    def possible(prefixes: NDArray[np.int64], num_left: int, _length: int) -> NDArray[np.bool_]:
        scale = 10**num_left
        first = np.searchsorted(codes, prefixes * scale)
        is_possible: NDArray[np.bool_] = np.searchsorted(codes, (prefixes + 1) * scale) > first
        return is_possible

    return possible


def _row(name: str, results: list[_Result]) -> str:
    num = len(results)
    right = sum(one.is_right for one in results)
    ceiling = sum(one.is_ceiling_right for one in results)
    accepted = [one for one in results if one.is_accepted]
    wrong = sum(not one.is_right for one in accepted)
    seen = [one for one in results if one.reading and not one.is_right and not one.is_known]
    mended = sum(one.with_directory == one.drawn.code for one in seen)
    accepted_alone = sum(one.is_ceiling_accepted for one in results)
    theirs = read_by_tesseract([one.drawn.field for one in results])
    if theirs is None:
        tesseract = "not installed"
    else:
        same = [text == one.drawn.code for text, one in zip(theirs, results, strict=True)]
        tesseract = f"{sum(same) / num:.1%}"
    return (
        f"| {name} | {ceiling / num:.1%} | {right / num:.1%} | {right / max(ceiling, 1):.3f}"
        f" | {len(accepted) / num:.1%} ({accepted_alone / num:.1%})"
        f" | {wrong} of {len(accepted)} | {mended} of {len(seen)} | {tesseract} |"
    )


def read_by_tesseract(fields: list[NDArray[np.uint8]]) -> list[str] | None:
    """What Tesseract reads, digits only, in one line; None where it is not installed."""
    if shutil.which("tesseract") is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, field in enumerate(fields):
            Image.fromarray(field).save(folder / f"{number}.png")
        listing = folder / "fields.txt"
        listing.write_text("".join(f"{folder / str(n)}.png\n" for n in range(len(fields))))
        done = subprocess.run(
            [
                "tesseract", str(listing), "stdout", "--psm", "7",
                "-c", "tessedit_char_whitelist=0123456789",
            ],
            check=True, capture_output=True, text=True, env={"OMP_THREAD_LIMIT": "1"},
        )  # fmt: skip
    pages = done.stdout.split("\f")[: len(fields)]
    return ["".join(char for char in page if char.isdigit()) for page in pages]
