import hashlib

import numpy as np
import pytest

from training.data import semeion
from training.data.mnist_files import DataError, WrongChecksum

BITS = np.random.default_rng(5).integers(0, 2, (6, 256))
DIGITS = [3, 0, 9, 9, 1, 7]
SHA256 = hashlib.sha256(
    BITS.astype(np.uint8).tobytes() + np.array(DIGITS, np.uint8).tobytes()
).hexdigest()
NOBODY = "https://127.0.0.1:1/semeion.data"


def text(*, one_hot=True, end="\n"):
    lines = []
    for bits, digit in zip(BITS, DIGITS, strict=True):
        label = [int(digit == other) for other in range(10)] if one_hot else [digit]
        lines.append(" ".join([f"{bit:.4f}" for bit in bits] + [str(bit) for bit in label]))
    return (end.join(lines) + end).encode()


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("end", ["\n", " \r\n"])
def test_a_digit_is_read_from_ten_bits_or_from_itself(one_hot, end):
    found = semeion.parse(text(one_hot=one_hot, end=end), origin="here", sha256=SHA256)
    assert found.labels.tolist() == DIGITS
    np.testing.assert_array_equal(found.images.reshape(6, 256), BITS)


def test_a_short_line_is_named():
    lines = text().splitlines(keepends=True)
    lines[2] = lines[2][7:]
    with pytest.raises(DataError, match="line 3: 265 numbers; Semeion has 266"):
        semeion.parse(b"".join(lines), origin="here", sha256=SHA256)


def test_a_word_among_the_numbers_is_named():
    with pytest.raises(DataError, match=r"line 1: .*'paper'"):
        semeion.parse(text().replace(b"0.0000", b"paper", 1), origin="here", sha256=SHA256)


def test_grey_pixels_are_refused():
    with pytest.raises(DataError, match="0 or 1"):
        semeion.parse(text().replace(b"1.0000", b"0.5000", 1), origin="here", sha256=SHA256)


def test_other_digits_are_refused():
    with pytest.raises(WrongChecksum, match="here holds 6 digits with sha256"):
        semeion.parse(text().replace(b"1.0000", b"0.0000", 1), origin="here", sha256=SHA256)


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"--semeion .*absent cannot be read"):
        semeion.load_semeion(tmp_path, tmp_path / "absent")


def test_without_an_answer_the_set_is_left_out_and_the_log_says_so(tmp_path, caplog):
    assert semeion.load_semeion(tmp_path, None, address=NOBODY) is None
    assert "--semeion FILE" in caplog.text


def test_the_cache_is_read_without_a_network(tmp_path):
    (tmp_path / semeion.FILE_NAME).write_bytes(text())
    found = semeion.load_semeion(tmp_path, None, address=NOBODY, sha256=SHA256)
    assert found is not None
    assert found.labels.tolist() == DIGITS


def test_a_named_file_wins_over_the_cache(tmp_path):
    (tmp_path / semeion.FILE_NAME).write_bytes(b"damaged")
    (tmp_path / "copy").write_bytes(text())
    found = semeion.load_semeion(tmp_path, tmp_path / "copy", address=NOBODY, sha256=SHA256)
    assert found is not None


def test_an_address_without_tls_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not https"):
        semeion.load_semeion(tmp_path, None, address="http://127.0.0.1:1/semeion.data")


def test_what_the_address_sends_is_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(semeion, "_fetch", lambda address: text())
    semeion.load_semeion(tmp_path / "new", None, sha256=SHA256)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [semeion.FILE_NAME]


def test_damaged_data_from_the_address_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(semeion, "_fetch", lambda address: text()[:5000])
    with pytest.raises(DataError):
        semeion.load_semeion(tmp_path, None, sha256=SHA256)
    assert not list(tmp_path.iterdir())


def test_every_digit_is_drawn_20_px_high_and_15_px_wide():
    full = semeion.LabelledImages(np.ones((2, 16, 16), np.uint8), np.zeros(2, np.uint8))
    drawn = semeion.draw(full).images
    assert drawn.shape == (2, 28, 28)
    assert (drawn[0] > 0).any(1).sum() == 20
    assert (drawn[0] > 0).any(0).sum() == 15


def test_the_edges_of_a_drawn_digit_are_grey():
    bits = np.zeros((1, 16, 16), np.uint8)
    bits[:, 2:14, 5:9] = 1
    drawn = semeion.draw(semeion.LabelledImages(bits, np.zeros(1, np.uint8))).images
    assert ((drawn > 20) & (drawn < 235)).any()
    assert drawn.max() == 255
