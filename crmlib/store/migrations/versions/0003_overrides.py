"""Overrides of forecasts"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecast_overrides",
        sa.Column("override_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("level", sa.String(length=64), nullable=False),
        sa.Column("series_id", sa.String(length=256), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("previous", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=True),
        sa.Column("withdrawn_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("override_id", name=op.f("pk_forecast_overrides")),
        sa.UniqueConstraint(
            "level",
            "series_id",
            "period",
            "revision",
            name=op.f("uq_forecast_overrides_level_series_id_period_revision"),
        ),
    )


def downgrade() -> None:
    op.drop_table("forecast_overrides")
