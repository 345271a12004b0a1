"""The marked crops of a window that nobody has audited yet, in random order.

So the first rows are a fair sample of all, whenever the keyers stop. Knows nothing about estimates.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from capture.archive import KEY, RECORDS, Window, with_read_ids
from capture.audit_sample import audit_hash
from capture.erasure import erased_ids, without_erased
from capture.label_event import AUDIT
from capture.labels import read_events
from capture.sampling import open_dataset
from capture.store import Store

COLUMNS = ["read_id", "crop_index", "site", "how", "label"]


def list_marks(store: Store, window: Window) -> pd.DataFrame:
    """The rows of a label file, with an empty label to fill in: COLUMNS."""
    keys = [key for day in window.days() for key in store.find(f"{RECORDS}/day={day}/")]
    table = open_dataset(store, keys).to_table(
        columns=[*KEY, "request_id", "site"], filter=ds.field("audit_probability") > 0
    )
    rows = without_erased(with_read_ids(table), erased_ids(store)).to_pandas().drop_duplicates(KEY)
    events = read_events(store)
    done = set(events[events["how"] == AUDIT][KEY].itertuples(index=False, name=None))
    keys_of_rows = list(rows[KEY].itertuples(index=False, name=None))
    rows = rows[np.array([key not in done for key in keys_of_rows], dtype=bool)]  # of none, too
    order = [audit_hash(read_id, index) for read_id, index in rows[KEY].itertuples(index=False)]
    rows = rows.assign(how=AUDIT, label="", order=order)
    return rows.sort_values("order", ignore_index=True)[COLUMNS]
