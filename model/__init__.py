"""The model as a function: bytes in, decision out. Knows nothing of HTTP, storage or training."""

import os

# onnxruntime's wheels report to their maker, and write a device id into the home folder, from the
# moment that they are imported, unless told not to before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
