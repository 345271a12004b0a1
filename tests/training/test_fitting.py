from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TinyNetwork, draw_digits

from training.batches import FitData, jitter_images
from training.data.datasets import LabelledImages
from training.data.render import DAMAGED, GARBAGE_LABEL
from training.fitting import (
    Augmented,
    FitConfig,
    _loss,
    choose_arithmetic,
    fit,
)
from training.network import build, num_parameters

CONFIG = FitConfig(epochs=2, batch_size=16, num_threads=1, augmented=Augmented(bfloat16=False))


def build_tiny(name):
    return TinyNetwork()


@pytest.fixture(scope="module")
def data():
    garbage = LabelledImages(
        np.random.default_rng(0).integers(0, 255, (16, 28, 28)).astype(np.uint8),
        np.full(16, GARBAGE_LABEL, np.uint8),
    )
    rendered = draw_digits(64, seed=5)
    mixed = LabelledImages(
        np.concatenate([rendered.images, garbage.images]),
        np.concatenate([rendered.labels, garbage.labels]),
    )
    return FitData(draw_digits(64, 3), draw_digits(32, 4), mixed, draw_digits(32, 6))


@pytest.mark.parametrize("augmented", [None, CONFIG.augmented], ids=["plain", "augmented"])
def test_the_same_seed_gives_the_same_weights(data, augmented):
    config = replace(CONFIG, augmented=augmented)
    first, second = (fit(config, data, build=build_tiny) for _ in range(2))
    for one, other in zip(
        first.network.state_dict().values(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_another_seed_gives_other_weights(data):
    first = fit(CONFIG, data, build=build_tiny)
    second = fit(replace(CONFIG, seed=8), data, build=build_tiny)
    weights = [fitted.network.state_dict()["digit_head.weight"] for fitted in (first, second)]
    assert not torch.equal(*weights)


def test_one_batch_can_be_overfitted():
    batch = draw_digits(32, seed=3)
    config = replace(
        CONFIG, network="default", epochs=60, batch_size=32, learning_rate=4e-3, augmented=None
    )
    fitted = fit(config, FitData(batch, batch, None, None))
    assert fitted.history[-1].validation_accuracy == 1.0
    assert fitted.history[-1].train_loss < 0.05


def test_the_best_epoch_is_kept_and_not_the_last(data):
    fitted = fit(replace(CONFIG, epochs=4), data, build=build_tiny)
    scores = [epoch.score for epoch in fitted.history]
    assert fitted.best_epoch == int(np.argmax(scores))


def test_ctrl_c_keeps_what_was_reached(data):
    def stop_after_second(epoch):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    config = replace(CONFIG, epochs=50)
    fitted = fit(config, data, on_epoch=stop_after_second, build=build_tiny)
    assert fitted.interrupted
    assert len(fitted.history) == 2
    assert fitted.best_epoch == 0  # the second was interrupted before it was kept


def test_ctrl_c_before_the_first_epoch_is_passed_on(data):
    def build_and_stop(name):
        class Stopping(TinyNetwork):
            def forward(self, image):
                raise KeyboardInterrupt

        return Stopping()

    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, data, build=build_and_stop)


def test_a_loss_that_is_not_a_number_stops_the_fit(data):
    config = replace(CONFIG, augmented=None, learning_rate=float("inf"))
    with pytest.raises(FloatingPointError, match="lower"):
        fit(config, data, build=build_tiny)


def test_garbage_does_not_teach_the_digit_head(data):
    only_garbage = LabelledImages(data.rendered.images[-16:], np.full(16, GARBAGE_LABEL, np.uint8))
    with_garbage = replace_rendered(data, only_garbage)
    fitted = fit(CONFIG, with_garbage, build=build_tiny)
    images = torch.from_numpy(only_garbage.images[:, None] / np.float32(255))
    digits = torch.from_numpy(data.train.images[:16, None] / np.float32(255))
    with torch.no_grad():
        assert fitted.network(images)[1].mean() > fitted.network(digits)[1].mean()


def test_a_damaged_digit_counts_as_garbage_only_where_it_is_read_wrong():
    logits = torch.eye(10)[[3, 3, 3]] * 9
    garbage = torch.zeros(3, 1, requires_grad=True)
    labels = torch.tensor([3, 3 + DAMAGED, 8 + DAMAGED])
    _loss(CONFIG, (logits, garbage), labels).backward()
    assert garbage.grad is not None
    assert (garbage.grad[:, 0] > 0).tolist() == [True, True, False]


def test_a_damaged_digit_does_not_teach_the_digit_head():
    logits = torch.zeros(2, 10, requires_grad=True)
    labels = torch.tensor([4, 7 + DAMAGED])
    _loss(CONFIG, (logits, torch.zeros(2, 1)), labels).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0


def test_a_move_keeps_the_marks_at_the_border():
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, :2, 10:14] = 1
    images[:, :, 12:16, 12:16] = 1
    moved = jitter_images(images, 1.0, np.random.default_rng(0))
    assert torch.equal(moved[:, :, :2, 10:14], images[:, :, :2, 10:14])
    assert not torch.equal(moved[:, :, 12:16], images[:, :, 12:16])


def test_the_arithmetic_is_chosen_by_time_and_stays_where_it_is_given():
    chosen = choose_arithmetic(FitConfig(batch_size=8, num_threads=1), build_tiny)
    assert chosen.augmented is not None
    assert chosen.augmented.bfloat16 in (True, False)
    assert choose_arithmetic(CONFIG, build_tiny) is CONFIG


def replace_rendered(data, rendered):
    return FitData(data.train, data.validation, rendered, data.rendered_validation)


def test_the_prototype_has_the_size_of_the_original():
    assert num_parameters(build("prototype")) == 34_826


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'bigger'.*default, prototype"):
        build("bigger")


@pytest.mark.parametrize("name", ["default", "prototype"])
def test_a_row_is_scored_the_same_alone_and_in_a_batch(name, digits):
    torch.manual_seed(0)
    network = build(name).eval()
    images = torch.from_numpy(digits.images[:8, None] / np.float32(255))
    with torch.no_grad():
        outputs = network(images), network(images[3:4])
    together, alone = (out[0] if isinstance(out, tuple) else out for out in outputs)
    torch.testing.assert_close(together[3:4], alone, rtol=1e-4, atol=1e-5)
