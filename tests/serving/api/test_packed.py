"""The header of an .npy file, with numpy's own reader as the judge of what is valid."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CropError
from serving.api.packed import packed_crops
from serving.problems import Problem

DATA = bytes(range(256)) * 7


def npy(header, data=DATA[:1568], version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode("latin-1") + data


def header(shape, descr="'|u1'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def status_of(body):
    try:
        packed_crops(body, 1024)
    except Problem as problem:
        return problem.status
    except CropError:
        return 422
    return 200


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "array", [np.zeros((2, 28, 28), np.uint8), np.arange(32, dtype="u1").reshape(2, 4, 4)]
)
def test_what_numpy_writes_is_read(array, version):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, (version, 0))
    np.testing.assert_array_equal(packed_crops(stream.getvalue(), 2), array)


@pytest.mark.parametrize(
    "text",
    [
        "{'shape':(2,28,28),'descr':'u1','fortran_order':False}",
        "{'descr': 'B','fortran_order':False , 'shape' :( 2L, 28L, 28L ,) } \n",
    ],
)
def test_what_other_writers_write_is_read(text):
    assert np.shape(packed_crops(npy(text), 2)) == (2, 28, 28)


SHAPES = [
    "(True,28,28)", "(1,True,28)", "(1,28,True)", "(True,True,True)", "(-1,28,28)", "(1,28,-28)",
    "(1.0,28,28)", "(1j,28,28)", "('1',28,28)", "(None,28,28)", "(2**3,28,28)", "((1,),28,28)",
    "(1,28,28,1)", "()", "(28,)", "[1,28,28]", "(1,0,28)", "(0,28,28)", "(1," + "9" * 4000 + ",28)",
    "(" + "9" * 9 + ",28,28)", "(0x2,28,28)", "(1_0,28,28)", "(2,,28,28)", "(,2,28,28)", "7", "",
    "(" * 200, "-" * 9000 + "1", "(2,28,28)}", "(2 28,28,1)",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[:20])
@pytest.mark.parametrize("version", [1, 2])
def test_any_other_shape_is_the_senders_fault(shape, version):
    assert status_of(npy(header(shape), version=version)) in (400, 422)


@pytest.mark.parametrize(
    "descr",
    ["'|O'", "'|S1'", "'|b1'", "'|i1'", "[('a','|u1')]", "('|u1',(2,))", "{'a':1}", "1", "None",
     "'m8[ns]'", "'|u1\0'", "'|u1,|u1'", "'\xff'", "''"],
)  # fmt: skip
def test_any_other_type_is_the_senders_fault(descr):
    assert status_of(npy(header("(2, 28, 28)", descr))) in (400, 422)


def test_a_header_with_a_key_twice_or_a_key_too_many_is_400():
    twice = "{'descr': '|u1', 'shape': (2, 28, 28), 'shape': (2, 28, 28)}"
    four = header("(2, 28, 28)").replace("}", "'a': 'b'}")
    assert [status_of(npy(twice)), status_of(npy(four))] == [400, 400]


def test_a_header_of_ten_thousand_blanks_is_read_in_linear_time():
    text = header("(2, 28, 28)")
    assert status_of(npy(text + " " * (10_000 - len(text)))) == 200
    assert status_of(npy(text + " " * (10_001 - len(text)))) == 400


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.text(alphabet="{}()[]'\",:|u18b<> TrueFalsdecptohn_0-.L\n", max_size=60),
    st.integers(0, 90),
)
def test_what_is_read_is_what_numpy_reads(noise, at):
    text = header("(2, 28, 28)")
    body = npy(text[:at] + noise + text[at + len(noise) :])
    try:
        crops = packed_crops(body, 1024)
    except (Problem, CropError):
        return
    np.testing.assert_array_equal(crops, np.load(io.BytesIO(body)))
