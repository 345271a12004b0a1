"""The crops that an analyst wants keyed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "label_requests",
        sa.Column("read_id", sa.Text, primary_key=True),
        sa.Column("crop_index", sa.Integer, primary_key=True),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
    )
    op.create_index("label_requests_by_site", "label_requests", ["site"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("label_requests")
