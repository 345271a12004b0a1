"""A letter as the service captures it: read by the shipped champion, in one batch, into a spool."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from capture import ship
from capture.challenger_answer import NO_ANSWER
from capture.crop_size import reduce_crop
from capture.record import StageTimes, build, to_uint8
from capture.spool import Spool
from model.artifact import CHAMPION, load
from model.framed import Framed
from serving.reading.batch_reading import read_batch
from serving.reading.preparing import NotFramed
from serving.served_model import build_model

CROPS = sorted((Path(__file__).parents[2] / "data" / "crops").glob("*.png"))
TIME_US = 1_732_104_000_123_456  # 2024-11-20 12:00:00.123456


def read_id(number=0, time_us=TIME_US):
    stamp = f"{time_us // 1000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number:012d}"


@cache
def _champion():
    return build_model(load(CHAMPION), None)


def records(pngs, *, number=0, scale_from=10**9, keep_crops=True, **changes):
    """Records of one request, as `serving.reading.capture_sink` makes them."""
    model = _champion()
    made = []
    together = read_batch(pngs, model)
    for index, outcome in enumerate(together):
        # A batch has no time to frame everything on a busy machine; then a crop is read alone.
        late = isinstance(outcome, NotFramed)
        reading = read_batch([pngs[index]], model)[0] if late else outcome
        crop, scale = reading.crop, 1
        if crop.size > scale_from:
            crop, scale = reduce_crop(np.kron(crop, np.ones((16, 16), np.uint8)))
        image = None if reading.image is None else to_uint8(reading.image.copy())
        known = {
            "read_id": read_id(number),
            "request_id": read_id(number),
            "index": index,
            "time_us": TIME_US + index,
            "site": "leeds",
            "model_version": model.version,
            "threshold": model.policy.threshold,
            "audit_probability": 0.0,
            "is_bulk": False,
            "is_field": False,
            "deadline_us": None,
            "garbage": reading.garbage,
            "image": image,
            "crop": crop if keep_crops else None,
            "crop_scale": scale,
            "decision": reading.decision,
            "framed": reading.framed or Framed(np.zeros((1, 28, 28), np.float32), inverted=False,
                passed_through=False, num_parts=0, num_dropped=0, aspect=0.0, edges_touched=0),
            "stages": StageTimes(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2.1),
            "challenger": NO_ANSWER,
        }  # fmt: skip
        made.append(build(**known | changes))
    return made


def into_spool(folder, made):
    """Write records to a spool and finish its segment."""
    spool = Spool(folder)
    for record in made:
        spool.append(record)
    spool.close()


def into_archive(console, made):
    """Write records and ship them."""
    folder = console.settings.capture.spool
    into_spool(folder, made)
    ship.ship_once(folder, console.archive)


def png_of(grey):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(grey, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def blank_png():
    return png_of(np.full((40, 30), 250))


def crops(num=5):
    """The files of some real crops."""
    return [path.read_bytes() for path in CROPS[:: len(CROPS) // num][:num]]
