"""The audit sample: a known random share of accepted crops, marked when they are captured.

Each crop is drawn alone, by a hash of the read id, which no sender can choose. The hash is another
one than that of the capture sample, so the two draws are independent. Standard library only,
because the service imports it. Knows nothing about labels.
"""

from __future__ import annotations

import hashlib
from typing import Final

_HASH_BYTES: Final = 8


def audit_hash(read_id: str, index: int) -> float:
    """Hash a crop's key to [0, 1); it is marked where this is below the audit share."""
    digest = hashlib.blake2b(
        f"{read_id}/{index}".encode(), digest_size=_HASH_BYTES, person=b"audit"
    ).digest()
    # 53 bits, so that the quotient is exact and below 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def audit_probability(read_id: str, index: int, *, audit_frac: float, capture_frac: float) -> float:
    """The probability with which an accepted crop was marked; 0 where it is not marked.

    Args:
        read_id: of the read.
        index: of the crop.
        audit_frac: the share of captured, accepted crops that is marked.
        capture_frac: the share of reads that is captured.
    """
    if audit_frac == 0 or audit_hash(read_id, index) >= audit_frac:
        return 0.0
    return audit_frac * capture_frac
