"""The letters that people key, their crops and what people said of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "letters",
        sa.Column("read_id", sa.Text, primary_key=True),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("deadline_us", sa.BigInteger),
        sa.Column("closed_us", sa.BigInteger),
        sa.Column("leased_by", sa.Text),
        sa.Column("leased_in", sa.Text),
        sa.Column("lease_until_us", sa.BigInteger, nullable=False),
    )
    op.create_index("letters_by_deadline", "letters", ["closed_us", "deadline_us"])
    op.create_index("letters_by_time", "letters", ["closed_us", "time_us"])
    op.create_index("letters_by_holder", "letters", ["leased_by", "lease_until_us"])
    op.create_table(
        "crops",
        sa.Column("read_id", sa.Text, primary_key=True),
        sa.Column("crop_index", sa.Integer, primary_key=True),
        sa.Column("digit", sa.Text),
        sa.Column("how", sa.Text),
        sa.Column("label", sa.Text),
        sa.Column("num_wanted", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("picture", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "votes",
        sa.Column("read_id", sa.Text, primary_key=True),
        sa.Column("crop_index", sa.Integer, primary_key=True),
        sa.Column("who", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("when_us", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("is_undone", sa.Boolean, nullable=False),
        sa.Column("is_checking", sa.Boolean, nullable=False),
        sa.Column("is_agreed", sa.Boolean),
    )
    op.create_index("votes_by_person", "votes", ["who", "when_us"])
    op.create_index("votes_by_check", "votes", ["who", "is_checking", "is_agreed"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("votes", "crops", "letters"):
        op.drop_table(name)
