"""Reads one crop on one server with KServe's client; run with a Python that has kserve.

Usage: python kserve_client.py URL ARRAY.npy; prints the digits as JSON.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(url, path):
    images = np.load(path)
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "digits")
    answers = {}
    for kind in ("json", "binary"):
        tensor = InferInput("image", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=kind == "binary")
        request = InferRequest("digits", [tensor])
        response = await client.infer(url, request, model_name="digits")
        (digits,) = [one for one in response.outputs if one.name == "digit"]
        answers[kind] = [int(digit) for digit in digits.as_numpy()]
    await client.close()
    print(json.dumps(answers))


asyncio.run(main(*sys.argv[1:]))
