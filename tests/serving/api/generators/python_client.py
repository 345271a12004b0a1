"""Reads crops with the client that openapi-python-client makes of our document; prints JSON.

Run with its environment: python_client.py FOLDER_OF_THE_CLIENT URL FILE FILE
"""

import json
import sys
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(sys.argv[1]).parent))

from made_client import Client
from made_client.api.reads import read_digit, read_digits
from made_client.api.service import get_model
from made_client.models import DigitAnswer, ProblemAnswer, ReadDigitsFilesBody
from made_client.types import File

client = Client(base_url=sys.argv[2])
first, second = (Path(name).read_bytes() for name in sys.argv[3:5])
one = read_digit.sync(client=client, body=File(payload=BytesIO(first)), x_request_id="made-1")
assert isinstance(one, DigitAnswer)
bad = read_digit.sync(client=client, body=File(payload=BytesIO(b"no picture")))
assert isinstance(bad, ProblemAnswer)
both = read_digits.sync(
    client=client,
    body=ReadDigitsFilesBody(
        crop=[
            File(BytesIO(first), "1.png", "image/png"),
            File(BytesIO(second), "2.png", "image/png"),
        ]
    ),
)
model = get_model.sync(client=client)
print(
    json.dumps(
        {
            "one": one.digit,
            "request_id": one.request_id,
            "bad": bad.status,
            "both": [result.digit for result in both.results],
            "version": model.version,
        }
    )
)
