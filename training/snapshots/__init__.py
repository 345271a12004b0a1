"""Data snapshots: labelled crops of a month and all before, dated and immutable."""
