"""Labels: the truth that arrives later for captured crops.

Knows nothing about how they are used.
"""

from __future__ import annotations

import hashlib
from typing import Final

import pandas as pd
import pyarrow as pa

from capture.archive import KEY, LABELS, PARQUET, READ_ID, decode, encode
from capture.store import Store

LABEL_SCHEMA: Final = pa.schema(
    [(READ_ID, pa.string()), ("crop_index", pa.int32()), ("label", pa.int8())]
)
# In the file the read id has the name that version 0.1 reads, where the two were the same.
_STORED_NAMES: Final = ["request_id", "crop_index", "label"]


def add_labels(store: Store, labels: pd.DataFrame) -> str:
    """Store labels of captured crops; storing the same labels again changes nothing.

    Args:
        store: where the records are.
        labels: columns read_id, crop_index and label (0-9).

    Returns:
        The key they are stored under.

    Raises:
        ValueError: a column is missing or a label is not a digit.
    """
    missing = set(LABEL_SCHEMA.names) - set(labels.columns)
    if missing:
        raise ValueError(f"labels lack the columns {sorted(missing)}")
    if not labels["label"].isin(range(10)).all():
        wrong = labels.loc[~labels["label"].isin(range(10)), "label"].iloc[0]
        raise ValueError(f"label {wrong} is not a digit from 0 to 9")
    table = pa.Table.from_pandas(labels[LABEL_SCHEMA.names], LABEL_SCHEMA, preserve_index=False)
    data = encode(table.rename_columns(_STORED_NAMES))
    key = f"{LABELS}/{hashlib.sha256(data).hexdigest()[:24]}.parquet"
    store.put(key, data, content_type=PARQUET)
    return key


def read_labels(store: Store) -> pd.DataFrame:
    """Read every label; labels of a crop that disagree are left out."""
    tables = [decode(store.get(key)) for key in store.find(f"{LABELS}/")]
    if not tables:
        return LABEL_SCHEMA.empty_table().to_pandas()
    stored = pa.concat_tables(tables).rename_columns(LABEL_SCHEMA.names)
    rows = stored.to_pandas().drop_duplicates()
    return rows[~rows.duplicated(KEY, keep=False)]
