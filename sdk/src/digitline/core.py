"""What both clients do: each call of the API, over `calls.py`. Runs on one event loop."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import httpx
import stamina

from digitline.answers import (
    CodeReading,
    FieldReading,
    Reading,
    StoredLabel,
    code_reading_of,
    field_reading_of,
    reading_of,
    stored_label_of,
)
from digitline.bundling import Bundle, Bundler, Outcome
from digitline.calls import Call, Caller
from digitline.exchange import open_http
from digitline.request_ids import ServiceClock
from digitline.verdicts import refusal_of, to_problem

LABEL_DEADLINE_S: Final = 5.0  # nobody waits on a belt for it; the service takes up to a second
FEWEST_OF_CODE, MOST_OF_CODE = 2, 12  # crops
_PNG: Final = b"\x89PNG"


class Core:
    """The calls of the API.

    Args:
        url: of the service.
        key: of the site; None: the service asks for none.
        bundle_ms: None sends each read alone.
        transport: in place of the network, for tests.
        wall: seconds since 1970 on this machine.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        bundle_ms: float | None,
        transport: httpx.AsyncBaseTransport | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        stamina.instrumentation.get_on_retry_hooks()  # loads them: 80 ms, not in the first retry
        self._http = open_http(url, key, transport)
        self._clock = ServiceClock(wall)
        self._caller = Caller(self._http, random.Random(), self._clock)  # noqa: S311  no secret
        self._bundler = None if bundle_ms is None else Bundler(self._read_bundle, bundle_ms / 1e3)

    async def read(
        self, crop: bytes, *, begun: float, deadline: float, letter_deadline_ms: int | None
    ) -> Reading:
        """One crop; times on the loop's clock. Errors as `Caller.post`."""
        crop = checked_image(crop)
        if letter_deadline_ms is not None and not letter_deadline_ms >= 1:
            raise ValueError(
                f"letter_deadline_ms is {letter_deadline_ms}; give at least 1 millisecond, or None"
            )
        if self._bundler is not None and letter_deadline_ms is None:
            return await self._bundler.read(crop, begun=begun, deadline=deadline)
        letter_deadline = None if letter_deadline_ms is None else begun + letter_deadline_ms / 1e3
        return await self._read_alone(crop, begun, deadline, letter_deadline)

    async def _read_alone(
        self, crop: bytes, begun: float, deadline: float, letter_deadline: float | None
    ) -> Reading:
        call = Call("/v1/digit", crop, media_type_of(crop), letter_deadline=letter_deadline)
        return await self._caller.post(
            call, deadline, lambda body: reading_of(body, took_ms=_ms_since(begun))
        )

    async def _read_bundle(self, bundle: Bundle) -> Sequence[Outcome]:
        if len(bundle.crops) == 1:
            return [await self._read_alone(bundle.crops[0], bundle.begun[0], bundle.deadline, None)]
        call = form_call("/v1/digits", bundle.crops)
        make = partial(_outcomes_of, bundle=bundle)
        return await self._caller.post(call, bundle.deadline, make)

    async def read_postcode(
        self, crops: Sequence[bytes], pattern: str | None, *, begun: float, deadline: float
    ) -> CodeReading:
        """One code from its crops."""
        if not FEWEST_OF_CODE <= len(crops) <= MOST_OF_CODE:
            raise ValueError(
                f"there are {len(crops)} crops; give a list of {FEWEST_OF_CODE} to {MOST_OF_CODE}, "
                "one for each digit"
            )
        params = {} if pattern is None else {"pattern": pattern}
        call = form_call("/v1/postcode", [checked_image(crop) for crop in crops], params)
        return await self._caller.post(
            call, deadline, lambda body: code_reading_of(body, took_ms=_ms_since(begun))
        )

    async def read_field(
        self,
        image: bytes,
        digits: int | tuple[int, int] | None,
        pattern: str | None,
        *,
        begun: float,
        deadline: float,
    ) -> FieldReading:
        """One code from the image of its field."""
        number = "-".join(map(str, digits)) if isinstance(digits, tuple) else digits
        wanted = {"digits": number, "pattern": pattern}
        params = {name: str(value) for name, value in wanted.items() if value is not None}
        image = checked_image(image)
        call = Call("/v1/field", image, media_type_of(image), params)
        return await self._caller.post(
            call, deadline, lambda body: field_reading_of(body, took_ms=_ms_since(begun))
        )

    async def label(
        self,
        read_id: str,
        crop_index: int,
        label: int | str,
        *,
        who: str,
        how: str,
        deadline: float,
    ) -> StoredLabel:
        """Store what a person keyed. `when` is the same on each try, so it is stored once."""
        row = {
            "read_id": read_id,
            "crop_index": crop_index,
            "label": label,
            "who": who,
            "when": self._clock.now(),
            "how": how,
        }
        call = Call("/v1/labels", json.dumps(row).encode(), "application/json", is_hedged=False)
        return await self._caller.post(
            call, deadline, lambda body: stored_label_of(body["results"][0])
        )

    async def aclose(self) -> None:
        """Close all connections; calls that still wait are cancelled."""
        if self._bundler is not None:
            await self._bundler.aclose()
        await self._caller.aclose()
        await self._http.aclose()


def form_call(path: str, crops: Sequence[bytes], params: Mapping[str, str] | None = None) -> Call:
    """A form of files, encoded once for all tries."""
    files = [("crop", (f"{n}", crop, media_type_of(crop))) for n, crop in enumerate(crops)]
    form = httpx.Request("POST", "http://form", files=files)
    return Call(path, form.read(), form.headers["content-type"], params or {})


def checked_image(image: bytes) -> bytes:
    """The bytes of a file.

    Raises:
        TypeError: it is a path or anything else.
    """
    if not isinstance(image, bytes | bytearray | memoryview):
        raise TypeError(
            f"the image is a {type(image).__name__}; give the bytes of a PNG or JPEG file"
        )
    return bytes(image)


def media_type_of(image: bytes) -> str:
    """The service reads PNG and JPEG, and says so of anything else."""
    return "image/png" if image.startswith(_PNG) else "image/jpeg"


def _outcomes_of(body: dict[str, Any], *, bundle: Bundle) -> list[Outcome]:
    results = body["results"]
    if len(results) != len(bundle.crops):
        raise ValueError(f"{len(results)} results for {len(bundle.crops)} crops")
    return [
        refusal_of(
            to_problem(result["error"], int(result["error"]["status"]), str(body["request_id"]))
        )
        if "error" in result
        else reading_of(body, took_ms=_ms_since(begun), result=result, crop_index=index)
        for index, (result, begun) in enumerate(zip(results, bundle.begun, strict=True))
    ]


def _ms_since(begun: float) -> float:
    return (asyncio.get_running_loop().time() - begun) * 1e3
