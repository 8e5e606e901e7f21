"""Access, audit and schedules"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The audit log is only ever added to. Replacing a row in SQLite would delete it without asking the trigger of deletions.
_SQLITE = [
    f"CREATE TRIGGER audit_{table}_no_{event.lower()} BEFORE {event} ON audit_{table} "
    f"{when}BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END"
    for table, event, when in [
        ("entries", "UPDATE", ""),
        ("entries", "DELETE", ""),
        ("entries", "INSERT", "WHEN EXISTS (SELECT 1 FROM audit_entries WHERE entry = NEW.entry) "),
        ("head", "DELETE", ""),
    ]
]
_POSTGRESQL = [
    "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log is only ever added to'; END $$",
    *(
        f"CREATE TRIGGER audit_{table}_append_only BEFORE {events} ON audit_{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
        for table, events in [("entries", "UPDATE OR DELETE OR TRUNCATE"), ("head", "DELETE OR TRUNCATE")]
    ),
]


def upgrade() -> None:
    op.create_table('alerts',
    sa.Column('alert_id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('topic', sa.String(length=128), nullable=False),
    sa.Column('code', sa.String(length=32), nullable=False),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('raised_at', sa.DateTime(), nullable=False),
    sa.Column('cleared_at', sa.DateTime(), nullable=True),
    sa.Column('sent', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('alert_id', name=op.f('pk_alerts')),
    sa.UniqueConstraint('topic', name=op.f('uq_alerts_topic'))
    )
    op.create_table('audit_entries',
    sa.Column('entry', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('happened_at', sa.DateTime(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('role', sa.String(length=32), nullable=False),
    sa.Column('action', sa.String(length=32), nullable=False),
    sa.Column('subject', sa.String(length=64), nullable=True),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('mac', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('entry', name=op.f('pk_audit_entries'))
    )
    op.create_index(op.f('ix_audit_entries_subject'), 'audit_entries', ['subject'], unique=False)
    op.create_table('audit_head',
    sa.Column('name', sa.String(length=16), nullable=False),
    sa.Column('entry', sa.Integer(), nullable=False),
    sa.Column('mac', sa.String(length=64), nullable=False),
    sa.Column('seal', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_audit_head'))
    )
    op.create_table('schedule_slots',
    sa.Column('slot_id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('job', sa.String(length=64), nullable=False),
    sa.Column('logical_date', sa.DateTime(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('not_before', sa.DateTime(), nullable=False),
    sa.Column('lease_until', sa.DateTime(), nullable=True),
    sa.Column('heartbeat_at', sa.DateTime(), nullable=True),
    sa.Column('worker', sa.Text(), nullable=True),
    sa.Column('started_at', sa.DateTime(), nullable=True),
    sa.Column('finished_at', sa.DateTime(), nullable=True),
    sa.Column('message', sa.Text(), nullable=True),
    sa.Column('reason', sa.JSON(), nullable=True),
    sa.Column('settings', sa.JSON(), nullable=False),
    sa.Column('run_id', sa.Integer(), nullable=True),
    sa.Column('output', sa.Text(), nullable=True),
    sa.Column('report', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('slot_id', name=op.f('pk_schedule_slots')),
    sa.UniqueConstraint('job', 'logical_date', name=op.f('uq_schedule_slots_job_logical_date'))
    )
    op.create_index(op.f('ix_schedule_slots_state'), 'schedule_slots', ['state'], unique=False)
    op.create_table('scheduled_jobs',
    sa.Column('job', sa.String(length=64), nullable=False),
    sa.Column('known_since', sa.DateTime(), nullable=False),
    sa.Column('next_due', sa.DateTime(), nullable=True),
    sa.Column('planned_until', sa.DateTime(), nullable=False),
    sa.Column('published', sa.Integer(), nullable=True),
    sa.Column('published_attempt', sa.Integer(), nullable=True),
    sa.Column('published_at', sa.DateTime(), nullable=True),
    sa.PrimaryKeyConstraint('job', name=op.f('pk_scheduled_jobs'))
    )
    op.create_table('users',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('role', sa.String(length=32), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.Column('session', sa.Integer(), nullable=False),
    sa.Column('active', sa.Boolean(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('changed_at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_users'))
    )
    op.create_table('slot_attempts',
    sa.Column('attempt_id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('slot_id', sa.Integer(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('worker', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(), nullable=False),
    sa.Column('finished_at', sa.DateTime(), nullable=True),
    sa.Column('exit_code', sa.Integer(), nullable=True),
    sa.Column('message', sa.Text(), nullable=True),
    sa.Column('run_id', sa.Integer(), nullable=True),
    sa.Column('log', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['slot_id'], ['schedule_slots.slot_id'], name=op.f('fk_slot_attempts_slot_id_schedule_slots')),
    sa.PrimaryKeyConstraint('attempt_id', name=op.f('pk_slot_attempts')),
    sa.UniqueConstraint('slot_id', 'attempt', name=op.f('uq_slot_attempts_slot_id_attempt'))
    )
    triggers = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
    for statement in triggers.get(op.get_bind().dialect.name, []):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table('slot_attempts')
    op.drop_table('users')
    op.drop_table('scheduled_jobs')
    op.drop_index(op.f('ix_schedule_slots_state'), table_name='schedule_slots')
    op.drop_table('schedule_slots')
    op.drop_table('audit_head')
    op.drop_index(op.f('ix_audit_entries_subject'), table_name='audit_entries')
    op.drop_table('audit_entries')
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_append_only()")
    op.drop_table('alerts')
