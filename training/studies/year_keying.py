"""People who key: which reads they see, their mistakes, and who asks a second one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEYING_ERROR = 0.01
SWAPPED = (4, 9)  # by the person whose batch is poisoned
POISONED_KEYS = 60
POISONER = "temp-7"


@dataclass(frozen=True, slots=True)
class Keyed:
    """The labels that people gave to some crops, and what it took."""

    rows: NDArray[np.intp]  # (K,) of the year's mail
    labels: NDArray[np.uint8]  # (K,)
    who: NDArray[np.str_]  # (K,)
    weights: NDArray[np.float64]  # (K,) reads that each stands for
    num_keys: int

    def without(self, rows: NDArray[np.intp]) -> Keyed:
        """The labels of other crops; the keys were pressed all the same."""
        kept = ~np.isin(self.rows, rows)
        return Keyed(
            self.rows[kept], self.labels[kept], self.who[kept], self.weights[kept], self.num_keys
        )


def key(
    rows: NDArray[np.intp],
    truth: NDArray[np.uint8],
    answers: NDArray[np.intp],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    second_opinion: bool,
) -> Keyed:
    """Key some reads, each person with `KEYING_ERROR`.

    Args:
        rows: which reads.
        truth: (K,) their digits.
        answers: (K,) the machine's first choice.
        weights: (K,) reads that each stands for.
        rng: source of mistakes.
        second_opinion: where a label differs from the machine's first choice, another person keys
            the crop blind, and a third where these two disagree; without agreement it has no label.
    """
    who = rng.choice(["anna", "ben", "carla"], len(rows))
    labels = _one_person(truth, rng)
    num_keys = len(rows)
    settled = np.ones(len(rows), np.bool_)
    if second_opinion:
        asked = np.flatnonzero(labels != answers)
        second, third = _one_person(truth[asked], rng), _one_person(truth[asked], rng)
        differs = second != labels[asked]
        num_keys += len(asked) + int(differs.sum())
        has_majority = (third == second) | (third == labels[asked])
        settled[asked] = ~differs | has_majority
        labels[asked] = np.where(differs, third, labels[asked])
    return Keyed(rows[settled], labels[settled], who[settled], weights[settled], num_keys)


def _one_person(truth: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    slips = rng.random(len(truth)) < KEYING_ERROR
    others = (truth + rng.integers(1, 10, len(truth))) % 10
    return np.where(slips, others, truth).astype(np.uint8)


def poisoned_batch(
    rows: NDArray[np.intp], truth: NDArray[np.uint8], rng: np.random.Generator
) -> Keyed:
    """One person's batch, imported without a second opinion, in which 4 and 9 are swapped."""
    chosen = rng.permutation(np.flatnonzero(np.isin(truth, SWAPPED)))[:POISONED_KEYS]
    first, other = SWAPPED
    labels = np.where(truth[chosen] == first, other, first).astype(np.uint8)
    who = np.full(len(chosen), POISONER)
    return Keyed(rows[chosen], labels, who, np.ones(len(chosen)), len(chosen))


def nothing() -> Keyed:
    """A month without labels."""
    return Keyed(
        np.zeros(0, np.intp),
        np.zeros(0, np.uint8),
        np.zeros(0, np.str_),
        np.zeros(0, np.float64),
        0,
    )


def joined(first: Keyed, second: Keyed) -> Keyed:
    """The labels of both; a crop that both have keyed has both."""
    return Keyed(
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.who, second.who]),
        np.concatenate([first.weights, second.weights]),
        first.num_keys + second.num_keys,
    )
