"""Fitting a champion on labelled mail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from training import adapting, network
from training.adapting import AdaptConfig, Mail, Replay
from training.data.datasets import LabelledImages
from training.data.render import GARBAGE_LABEL

CONFIG = AdaptConfig(
    num_steps=25,
    num_mail=12,
    num_raw=4,
    num_rendered=4,
    peak_lr=2e-3,
    ema_decay=0.9,
    champion_share=0.0,
    num_threads=1,
)


def bars(num, seed):
    """Upright bars are a 1, lying ones a 7."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(num) < 0.5, 1, 7).astype(np.uint8)
    images = np.zeros((num, 28, 28), np.uint8)
    for image, label, place in zip(images, labels, rng.integers(8, 18, num), strict=True):
        if label == 1:
            image[4:24, place : place + 3] = 255
        else:
            image[place : place + 3, 4:24] = 255
    return LabelledImages(images, labels)


def mail_of(part, letters=None):
    letters = np.arange(len(part)).astype(str) if letters is None else letters
    return Mail(part.images, part.labels, np.full(len(part), "bonn"), letters)


@pytest.fixture(scope="module")
def replay():
    part = bars(60, 1)
    return Replay(part, part)


@pytest.fixture(scope="module")
def champion(replay):
    torch.manual_seed(3)
    return adapting.go_on(network.build("default"), mail_of(bars(80, 9)), replay, CONFIG)


def crosses(num, seed):
    """Both bars at once: a 4, which no replay shows."""
    upright, lying = bars(num, seed), bars(num, seed + 1)
    images = np.maximum(upright.images, lying.images.transpose(0, 2, 1)[::-1])
    images = np.maximum(images, images.transpose(0, 2, 1))
    return LabelledImages(images, np.full(num, 4, np.uint8))


def test_labelled_mail_is_learned(champion, replay):
    adapted = adapting.adapt(champion, mail_of(crosses(60, 2)), replay, CONFIG)
    for unseen in (crosses(50, 7), bars(50, 3)):
        logits, _ = adapting.read(adapted.network, unseen.images)
        assert (logits.argmax(1) == unseen.labels).mean() > 0.9


def test_each_crop_is_read_by_the_network_that_has_not_seen_it(champion, replay):
    """A label that contradicts all others is not learned by the half that must judge it."""
    part = bars(80, 2)
    labels = part.labels.copy()
    labels[0] = 3
    adapted = adapting.adapt(champion, mail_of(LabelledImages(part.images, labels)), replay, CONFIG)
    assert adapted.logits[0].argmax() == part.labels[0]
    assert len(adapted.logits) == len(adapted.garbage) == 80


def test_crops_of_one_letter_are_in_one_half():
    letters = np.repeat(np.arange(20).astype(str), 5)
    is_first = adapting._halves(letters, seed=1)
    assert {len(set(is_first[letters == one])) for one in letters} == {1}
    assert is_first.sum() == 50


def test_the_champion_is_not_changed_and_the_same_config_gives_the_same_weights(champion, replay):
    before = {name: value.clone() for name, value in champion.state_dict().items()}
    mail = mail_of(bars(40, 2))
    first, second = (adapting.adapt(champion, mail, replay, CONFIG) for _ in range(2))
    for name, value in champion.state_dict().items():
        assert_array_equal(value, before[name])
    for name, value in first.network.state_dict().items():
        assert_array_equal(value, second.network.state_dict()[name])


def test_mail_of_one_letter_is_refused(champion, replay):
    mail = mail_of(bars(5, 2), letters=np.full(5, "one"))
    with pytest.raises(ValueError, match="5 crops of one letter cannot be halved"):
        adapting.adapt(champion, mail, replay, CONFIG)


def test_a_rare_digit_and_a_small_site_are_drawn_more_often_than_their_share():
    labels = np.array([1] * 99 + [7], np.uint8)
    sites = np.array(["bonn"] * 99 + ["essen"])
    images = np.zeros((100, 28, 28), np.uint8)
    weights = adapting.draw_weights(Mail(images, labels, sites, np.arange(100).astype(str)))
    assert weights.sum() == pytest.approx(1)
    assert weights[99] == pytest.approx(99 * weights[0])


def test_what_is_no_digit_teaches_the_garbage_head(champion, replay):
    digits = bars(60, 2)
    noise = np.random.default_rng(5).integers(0, 255, (60, 28, 28)).astype(np.uint8)
    part = LabelledImages(
        np.concatenate([digits.images, noise]),
        np.concatenate([digits.labels, np.full(60, GARBAGE_LABEL, np.uint8)]),
    )
    adapted = adapting.adapt(champion, mail_of(part), replay, CONFIG)
    _, garbage = adapting.read(adapted.network, part.images)
    assert np.median(garbage[60:]) > np.median(garbage[:60]) + 1


def test_the_candidate_keeps_the_champions_share_of_each_weight(champion, replay):
    mail = mail_of(crosses(30, 2))
    free, half = (
        adapting.adapt(champion, mail, replay, replace(CONFIG, champion_share=share)).network
        for share in (0.0, 0.5)
    )
    for name, value in champion.state_dict().items():
        if value.is_floating_point():
            mean = (value + free.state_dict()[name]) / 2
            torch.testing.assert_close(half.state_dict()[name], mean)
