"""Files made to take long to decode, from a few choices each: what decode_time.py climbs over."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
# One empty deflate block each, from the cheapest bytes to the costliest tables. Eight of them end
# on a byte, so a repetition of them is a valid stream; made by `dynamic_block`.
EMPTY = ("stored", "fixed", "small tables", "large tables")
CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


@dataclass(frozen=True)
class CostlyPng:
    """The choices of one PNG."""

    width: int = 2000
    height: int = 2000
    depth: int = 8  # bits
    colour: int = 0
    interlaced: bool = False
    row_filter: int = 4
    content: str = "chaos"  # flat, chaos or noise
    empty: str = "small tables"
    empty_bytes: int = 0  # of empty blocks before the pixels
    num_extra: int = 0  # chunks that decide nothing
    extra: bytes = b"zTXt"
    split: int = 1  # chunks of pixels
    orientation: int = 1
    transparent: bool = False
    seed: int = 0

    def mutated(self, rng: np.random.Generator) -> "CostlyPng":
        """One choice changed."""
        choices: dict[str, Callable[[], object]] = {
            "width": lambda: int(rng.choice([4, 64, 300, 723, 976, 1000, 1414, 2000, 4096])),
            "height": lambda: int(rng.choice([4, 64, 300, 723, 976, 1000, 1414, 2000, 4096])),
            "depth": lambda: int(rng.choice([1, 2, 4, 8, 16])),
            "colour": lambda: int(rng.choice([0, 2, 3, 4, 6])),
            "interlaced": lambda: not self.interlaced,
            "row_filter": lambda: int(rng.integers(0, 5)),
            "content": lambda: str(rng.choice(["flat", "chaos", "noise", "dark"])),
            "empty": lambda: str(rng.choice(EMPTY)),
            "empty_bytes": lambda: int(rng.choice([0, 20_000, 32_000, 300_000, 1_900_000])),
            "num_extra": lambda: int(rng.choice([0, 10, 1000, 4990])),
            "extra": lambda: bytes(rng.choice([b"zTXt", b"iCCP", b"eXIf", b"iTXt", b"tRNS"])),
            "split": lambda: int(rng.choice([1, 2, 300, 4900])),
            "orientation": lambda: int(rng.integers(1, 9)),
            "transparent": lambda: not self.transparent,
        }
        name = str(rng.choice(list(choices)))
        return replace(self, **{name: choices[name]()})  # type: ignore[arg-type]

    def encode(self) -> bytes:
        """The file."""
        header = struct.pack(
            ">IIBBBBB", self.width, self.height, self.depth, self.colour, 0, 0, self.interlaced
        )
        parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
        if self.colour == 3:
            parts.append(chunk(b"PLTE", bytes(range(256)) * 3))
        if self.transparent and self.colour in (0, 2, 3):
            parts.append(
                chunk(b"tRNS", {0: bytes(2), 2: bytes(6), 3: bytes(range(2))}[self.colour])
            )
        if self.orientation != 1:
            parts.append(chunk(b"eXIf", exif(self.orientation)))
        parts += [chunk(self.extra, bytes(12))] * self.num_extra
        packed = self.packed()
        size = -(-len(packed) // self.split)
        parts += [chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size)]
        return b"".join([*parts, chunk(b"IEND", b"")])

    def packed(self) -> bytes:
        """The compressed rows, behind as many empty blocks as chosen."""
        raw = self.rows()
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        block = empty_blocks(self.empty)
        flood = block * (self.empty_bytes // len(block))
        body = deflate.compress(raw) + deflate.flush()
        return b"\x78\x9c" + flood + body + struct.pack(">I", zlib.adler32(raw))

    def rows(self) -> bytes:
        """The filtered rows, of all passes where it is interlaced."""
        rng = np.random.default_rng(self.seed)
        passes = [(0, 0, 1, 1)]
        if self.interlaced:
            passes = [*ADAM7, (0, 1, 1, 2)]
        whole = b""
        for left, top, across, down in passes:
            wide = max(-(-(self.width - left) // across), 0)
            tall = max(-(-(self.height - top) // down), 0)
            row_bytes = (wide * CHANNELS[self.colour] * self.depth + 7) // 8
            if wide and tall:
                whole += self.filtered(row_bytes, tall, rng)
        return whole

    def filtered(self, row_bytes: int, num_rows: int, rng: np.random.Generator) -> bytes:
        """Rows with their filter byte."""
        rows = np.zeros((num_rows, 1 + row_bytes), dtype=np.uint8)
        if self.content == "chaos":  # few different rows: small, but wild when unfiltered
            wild = np.resize(rng.integers(0, 256, 1500, dtype=np.uint8), row_bytes + 7)
            few = np.stack([wild[start : start + row_bytes] for start in range(7)])
            rows[:, 1:] = few[rng.integers(0, 7, num_rows)]
        elif self.content == "noise":
            noise = rng.normal(0, 4, (num_rows // 8 + 1, row_bytes)).astype(np.int8)
            rows[:, 1:] = np.resize(noise, (num_rows, row_bytes)).view(np.uint8)
        elif self.content == "dark" and self.depth == 16:
            rows[:, 2::2] = rng.integers(0, 256, (1, row_bytes // 2), dtype=np.uint8)
        rows[:, 0] = self.row_filter
        return rows.tobytes()


@dataclass(frozen=True)
class CostlyJpeg:
    """The choices of one JPEG."""

    width: int = 2000
    height: int = 2000
    mode: str = "RGB"
    quality: int = 75
    subsampling: int = 0
    progressive: bool = True
    noise: float = 10.0
    repeat: int = 0  # a scan, from the last, that is repeated
    num_scans: int = 0  # in all, where one is repeated
    num_tables: int = 0
    num_app: int = 0  # segments that decide nothing
    restart_blocks: int = 0
    seed: int = 0

    def mutated(self, rng: np.random.Generator) -> "CostlyJpeg":
        """One choice changed."""
        choices: dict[str, Callable[[], object]] = {
            "width": lambda: int(rng.choice([8, 300, 1000, 1414, 2000, 4096])),
            "height": lambda: int(rng.choice([8, 300, 976, 1414, 2000, 4096])),
            "mode": lambda: str(rng.choice(["L", "RGB", "CMYK"])),
            "quality": lambda: int(rng.choice([1, 30, 60, 75, 90, 95, 100])),
            "subsampling": lambda: int(rng.integers(0, 3)),
            "progressive": lambda: not self.progressive,
            "noise": lambda: float(rng.choice([0, 3, 6, 10, 20, 60])),
            "repeat": lambda: int(rng.integers(0, 8)),
            "num_scans": lambda: int(rng.choice([0, 10, 12, 15, 20])),
            "num_tables": lambda: int(rng.choice([0, 20, 80, 110])),
            "num_app": lambda: int(rng.choice([0, 10, 1000, 4800])),
            "restart_blocks": lambda: int(rng.choice([0, 1, 10])),
        }
        name = str(rng.choice(list(choices)))
        return replace(self, **{name: choices[name]()})  # type: ignore[arg-type]

    def encode(self) -> bytes:
        """The file."""
        rng = np.random.default_rng(self.seed)
        bands = {"L": 1, "RGB": 3, "CMYK": 4}[self.mode]
        few = rng.normal(180, self.noise, (self.height // 8 + 1, self.width, bands)).clip(0, 255)
        pixels = np.resize(few.astype(np.uint8), (self.height, self.width, bands))
        picture = Image.fromarray(pixels if bands > 1 else pixels[..., 0], self.mode)
        stream = io.BytesIO()
        picture.save(
            stream,
            "JPEG",
            quality=self.quality,
            subsampling=self.subsampling,
            progressive=self.progressive,
            restart_marker_blocks=self.restart_blocks,
        )
        data = stream.getvalue()
        if self.progressive and self.num_scans:
            data = with_scans(data, self.repeat, self.num_scans)
        table = data[
            (at := data.index(b"\xff\xc4")) : at + 2 + int.from_bytes(data[at + 2 : at + 4])
        ]
        extra = b"\xff\xe5\x00\x04ab" * self.num_app + table * self.num_tables
        return data[:2] + extra + data[2:]


def with_scans(data: bytes, which: int, num_scans: int) -> bytes:
    """A progressive file with one of its last scans repeated."""
    places = []
    at = data.find(b"\xff\xda")
    while at >= 0:
        places.append(at)
        at = data.find(b"\xff\xda", at + 2)
    number = max(len(places) - 1 - which, 0)
    end = data.find(b"\xff\xc4", places[number])
    later = places[number + 1] if number + 1 < len(places) else len(data) - 2
    scan = data[places[number] : min(end, later) if end > 0 else later]
    return data[:-2] + scan * max(num_scans - len(places), 0) + data[-2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(orientation: int) -> bytes:
    """An EXIF block with one entry."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def empty_blocks(kind: str) -> bytes:
    """Eight deflate blocks that hold nothing, so that they end on a byte."""
    if kind == "stored":
        return b"\x00\x00\x00\xff\xff" * 8
    if kind == "fixed":
        bits = [0, 1, 0, *[0] * 7]
    elif kind == "small tables":
        bits = dynamic_block([0] * 256 + [1], [0])
    else:
        bits = dynamic_block([8] * 226 + [9] * 60, [5] * 28 + [4] * 2)
    return np.packbits(np.array(bits * 8, dtype=np.uint8), bitorder="little").tobytes()


def dynamic_block(literals: list[int], distances: list[int]) -> list[int]:
    """The bits of a block that declares code lengths and ends at once (RFC 1951, 3.2.7)."""
    symbols = run_lengths(literals + distances)
    used = sorted({symbol for symbol, _, _ in symbols})
    used += [other for other in (0, 1) if len(used) < 2 and other not in used]
    width = (len(used) - 1).bit_length()
    num_short = 2**width - len(used)
    lengths = [0] * 19
    for rank, symbol in enumerate(used):
        lengths[symbol] = width - 1 if rank < num_short else width
    num_lengths = max(place for place, symbol in enumerate(CODE_ORDER) if lengths[symbol]) + 1
    bits = [0, 0, 1]
    for value, num_bits in (
        (len(literals) - 257, 5), (len(distances) - 1, 5), (max(num_lengths, 4) - 4, 4),
        *((lengths[symbol], 3) for symbol in CODE_ORDER[: max(num_lengths, 4)]),
    ):  # fmt: skip
        bits += little(value, num_bits)
    codes = canonical(lengths)
    for symbol, extra, num_extra in symbols:
        bits += codes[symbol] + little(extra, num_extra)
    return bits + canonical(literals)[256]


def run_lengths(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Code lengths as (symbol, extra value, extra bits)."""
    symbols: list[tuple[int, int, int]] = []
    place = 0
    while place < len(lengths):
        value, run = lengths[place], 1
        while place + run < len(lengths) and lengths[place + run] == value:
            run += 1
        place += run
        if value:
            symbols.append((value, 0, 0))
            run -= 1
        most, symbol, num_extra, least = (6, 16, 2, 3) if value else (138, 18, 7, 11)
        while run >= least:
            now = min(run, most)
            symbols.append((symbol, now - least, num_extra))
            run -= now
        symbols += [(value, 0, 0)] * run
    return symbols


def canonical(lengths: list[int]) -> dict[int, list[int]]:
    """Huffman codes, first bit first, for code lengths (RFC 1951, 3.2.2)."""
    codes: dict[int, list[int]] = {}
    code = 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = [(code >> (length - 1 - bit)) & 1 for bit in range(length)]
                code += 1
        code <<= 1
    return codes


def little(value: int, num_bits: int) -> list[int]:
    """Bits of a number, the lowest first."""
    return [(value >> bit) & 1 for bit in range(num_bits)]


Costly = CostlyPng | CostlyJpeg
SEEDS: tuple[Costly, ...] = (
    CostlyPng(empty_bytes=1_900_000),
    CostlyPng(empty_bytes=1_900_000, empty="large tables", colour=2),
    CostlyPng(colour=6, content="chaos"),
    CostlyPng(colour=6, depth=16, width=1414, height=1414, content="dark", orientation=6),
    CostlyPng(colour=2, interlaced=True),
    CostlyPng(colour=3, depth=4, transparent=True, num_extra=4990),
    CostlyPng(colour=4, depth=16),
    CostlyPng(width=150, height=200, empty_bytes=32_000),
    CostlyJpeg(),
    CostlyJpeg(mode="CMYK", num_scans=20),
    CostlyJpeg(subsampling=2, num_scans=20, repeat=1),
    CostlyJpeg(mode="L", num_scans=20, repeat=2),
    CostlyJpeg(progressive=False, noise=6, quality=90, restart_blocks=1),
    CostlyJpeg(num_app=4800, num_tables=110, subsampling=2, quality=30),
)
