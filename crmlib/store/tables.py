"""The tables of the operational store: small mutable state, in SQLite or PostgreSQL.

Times are UTC. JSON columns hold plain dictionaries.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from crmlib.store import processes


class Base(DeclarativeBase):
    """Declarative base of the store's tables."""

    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012
    # Constraints need names so that a later migration can drop them.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Version(Base):
    """A warehouse version: numbered when its building begins, ``published`` once complete on disk and served."""

    __tablename__ = "warehouse_versions"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    parent: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))  # building, published, pruned, failed
    file: Mapped[str] = mapped_column(Text)  # name below the warehouse folder
    format_version: Mapped[int]
    created_at: Mapped[dt.datetime]
    published_at: Mapped[dt.datetime | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    process: Mapped[str | None] = mapped_column(Text, default=processes.me)  # who builds it


class Pointer(Base):
    """Which version is served; swapped by compare-and-set on ``version``."""

    __tablename__ = "warehouse_pointer"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)  # always "served"
    version: Mapped[int | None] = mapped_column(ForeignKey("warehouse_versions.version"))


class Load(Base):
    """One load of files or tables: what came in, what was refused, which version it made."""

    __tablename__ = "loads"

    load_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    state: Mapped[str] = mapped_column(String(16))  # running, accepted, rejected, unchanged, failed, interrupted
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    recorded_at: Mapped[dt.datetime]  # the time of knowledge given to changed rows
    fingerprint: Mapped[str] = mapped_column(String(64), index=True)  # of all sources and the mapping
    sources: Mapped[dict[str, Any]]  # file or table -> {sha256, rows}
    counts: Mapped[dict[str, Any] | None]  # table -> {input, accepted, quarantined, unchanged}
    quarantine: Mapped[str | None] = mapped_column(Text)  # file below the data folder
    version: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    process: Mapped[str | None] = mapped_column(Text, default=processes.me)


class Run(Base):
    """One execution of a job or notebook; its state is never only in the notebook."""

    __tablename__ = "runs"

    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))  # notebook, demo, train, score, segment, uplift, offers, load
    name: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))  # running, succeeded, failed, interrupted
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    process: Mapped[str | None] = mapped_column(Text, default=processes.me)
    exit_code: Mapped[int | None]
    warehouse_version: Mapped[int | None]
    output: Mapped[str | None] = mapped_column(Text)  # file below the data folder
    message: Mapped[str | None] = mapped_column(Text)


class Model(Base):
    """A fitted model: where its files are, what it was fitted on, how well it did."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("name", "model_version"),)

    model_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64))  # propensity …
    model_version: Mapped[int]
    folder: Mapped[str] = mapped_column(Text)  # below the data folder
    checksum: Mapped[str] = mapped_column(String(64))
    warehouse_version: Mapped[int]
    as_of: Mapped[dt.date]  # the latest date whose outcomes it was fitted or calibrated on
    created_at: Mapped[dt.datetime]
    metrics: Mapped[dict[str, Any]]


class ScoreSet(Base):
    """One table of scores on disk: which model, which warehouse version, as of when."""

    __tablename__ = "score_sets"
    __table_args__ = (Index("ix_score_sets_latest", "model", "as_of"),)

    score_set_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[int]
    warehouse_version: Mapped[int]
    as_of: Mapped[dt.date]
    file: Mapped[str] = mapped_column(Text)  # below the data folder
    checksum: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[dt.datetime]
    run_id: Mapped[int | None]  # the run of the ledger that made them


class Export(Base):
    """An export of customer data: written before the file is released."""

    __tablename__ = "exports"

    export_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    requested_at: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any]]  # product, cut-off, model and warehouse versions, as_of
    rows: Mapped[int] = mapped_column(BigInteger)
    checksum: Mapped[str] = mapped_column(String(64))
    file: Mapped[str] = mapped_column(Text)  # below the data folder


class SegmentSet(Base):
    """One table of segment memberships on disk: which segmentation, as of when, with what describes its segments."""

    __tablename__ = "segment_sets"
    __table_args__ = (Index("ix_segment_sets_latest", "segmentation", "as_of"),)

    segment_set_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    segmentation: Mapped[str] = mapped_column(String(64))  # rfm, behaviour …
    fitted_as_of: Mapped[dt.date]  # cut points and centres come from this date, so that memberships can be compared
    as_of: Mapped[dt.date]
    warehouse_version: Mapped[int]
    file: Mapped[str] = mapped_column(Text)  # below the data folder: customer_id, as_of, segmentation, segment
    checksum: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    description: Mapped[dict[str, Any]]  # cut points or centres, and a profile of each segment as codes
    created_at: Mapped[dt.datetime]
    run_id: Mapped[int | None]


class Audience(Base):
    """A saved audience: conditions as data; a change is a new version."""

    __tablename__ = "audiences"
    __table_args__ = (UniqueConstraint("name", "audience_version"),)

    audience_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(128))
    audience_version: Mapped[int]
    conditions: Mapped[dict[str, Any]]
    created_at: Mapped[dt.datetime]
    created_by: Mapped[str] = mapped_column(Text)


class Campaign(Base):
    """A planned campaign; changed by compare-and-set on ``revision``."""

    __tablename__ = "planned_campaigns"

    campaign_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))  # draft, approved, assigned, finished, cancelled
    owner: Mapped[str] = mapped_column(Text)
    approved_by: Mapped[str | None] = mapped_column(Text)
    approved_at: Mapped[dt.datetime | None]
    starts_on: Mapped[dt.date]
    ends_on: Mapped[dt.date]
    plan: Mapped[dict[str, Any]]  # goal, arms, control share, budget, contact plan, effect worth finding
    audience_id: Mapped[int | None] = mapped_column(ForeignKey("audiences.audience_id"))
    warehouse_version: Mapped[int | None]  # on which the audience was frozen
    as_of: Mapped[dt.date | None]
    seed: Mapped[int | None]
    members_file: Mapped[str | None] = mapped_column(Text)  # below the data folder: the frozen audience with its arms
    members_checksum: Mapped[str | None] = mapped_column(String(64))
    members: Mapped[int | None] = mapped_column(BigInteger)
    assigned_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime]
    changed_at: Mapped[dt.datetime]


class DecisionSet(Base):
    """The decision log of one decision for many customers: what was considered, why it was dropped or ranked so."""

    __tablename__ = "decision_sets"

    decision_set_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))  # best offers, desk, match
    as_of: Mapped[dt.date]
    warehouse_version: Mapped[int]
    score_set_id: Mapped[int | None]
    settings: Mapped[dict[str, Any]]  # budget, capacities, levers, policy; the gap and shadow prices found
    file: Mapped[str] = mapped_column(Text)  # below the data folder
    checksum: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[dt.datetime]
    run_id: Mapped[int | None]


class DeskEvent(Base):
    """What an operator did at the desk with an offer; seen at the next contact, before any load brings it."""

    __tablename__ = "desk_events"
    __table_args__ = (Index("ix_desk_events_customer", "customer_id", "happened_at"),)

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    customer_id: Mapped[str] = mapped_column(String(128))
    product_id: Mapped[str] = mapped_column(String(128))
    happened_at: Mapped[dt.datetime]
    channel: Mapped[str] = mapped_column(String(32))
    outcome: Mapped[str] = mapped_column(String(16))  # offered, accepted, refused, later
    actor: Mapped[str] = mapped_column(Text)
    shown: Mapped[dict[str, Any]]  # the prompt as it stood: rank, score, value, versions


class SavedView(Base):
    """The settings of a dashboard under a name."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("dashboard", "name"),)

    view_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    dashboard: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    settings: Mapped[dict[str, Any]]
    saved_at: Mapped[dt.datetime]
    saved_by: Mapped[str] = mapped_column(Text)


class ForecastOverride(Base):
    """What a person put in place of a forecast; only its withdrawal is ever added, and the newest revision counts."""

    __tablename__ = "forecast_overrides"
    # The revision makes putting a compare-and-set: of two people who saw the same one, the second learns of the first.
    __table_args__ = (UniqueConstraint("level", "series_id", "period", "revision"),)

    override_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    level: Mapped[str] = mapped_column(String(64))  # product_region_week …
    series_id: Mapped[str] = mapped_column(String(256))
    period: Mapped[dt.date]  # first day of the period
    revision: Mapped[int]  # 1, 2, … of this level, series and period
    quantity: Mapped[float] = mapped_column(Double)
    previous: Mapped[float | None] = mapped_column(Double)  # the forecast that it replaced, as it stood
    reason: Mapped[str] = mapped_column(Text)
    made_at: Mapped[dt.datetime]
    made_by: Mapped[str] = mapped_column(Text)
    withdrawn_at: Mapped[dt.datetime | None]
    withdrawn_by: Mapped[str | None] = mapped_column(Text)


class AuditEntry(Base):
    """One entry of the audit log: who did what, when, about whom; only ever added, chained by keyed MACs."""

    __tablename__ = "audit_entries"

    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, … without gaps
    happened_at: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(32))  # export, look, reveal, login, refused, change, erase …
    subject: Mapped[str | None] = mapped_column(String(64), index=True)  # pseudonym of a customer
    content: Mapped[dict[str, Any]]  # plain JSON; never a name, a contact detail or a customer's own number
    mac: Mapped[str] = mapped_column(String(64))  # keyed, of this entry and the MAC before it


class AuditHead(Base):
    """How far the audit log reaches; its own MAC shows when entries were cut off."""

    __tablename__ = "audit_head"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)  # always "audit"
    entry: Mapped[int]
    mac: Mapped[str] = mapped_column(String(64))  # of the last entry
    seal: Mapped[str] = mapped_column(String(64))  # keyed, of number and MAC


class User(Base):
    """A person who may open dashboards with a password."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(32))
    password_hash: Mapped[str] = mapped_column(Text)
    session: Mapped[int]  # counted up when the password or role changes, which ends the sessions before
    active: Mapped[bool]
    created_at: Mapped[dt.datetime]
    changed_at: Mapped[dt.datetime]


class ScheduledJob(Base):
    """What the scheduler knows of a job of ``schedules.toml``; ``published`` points at the newest slot that succeeded."""

    __tablename__ = "scheduled_jobs"

    job: Mapped[str] = mapped_column(String(64), primary_key=True)
    known_since: Mapped[dt.datetime]  # slots before it are never caught up
    next_due: Mapped[dt.datetime | None]  # as the newest plan has it; none for a job that was taken out of the file
    planned_until: Mapped[dt.datetime]  # all that was due so far has its slot; never goes back, whatever the clock does
    published: Mapped[int | None]  # slot_id
    published_attempt: Mapped[int | None]
    published_at: Mapped[dt.datetime | None]


class Slot(Base):
    """One due run of a job: once for each logical date, whatever happens to schedulers and machines."""

    __tablename__ = "schedule_slots"
    __table_args__ = (UniqueConstraint("job", "logical_date"),)

    slot_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job: Mapped[str] = mapped_column(String(64))
    logical_date: Mapped[dt.datetime]  # UTC; what the run is for, whenever it happens
    state: Mapped[str] = mapped_column(String(16), index=True)  # waiting, running, succeeded, failed, skipped
    attempt: Mapped[int]  # the fence: only the newest attempt may say how it ended
    tries: Mapped[int]  # attempts that failed, timed out or were lost, since the slot was made or last put back by hand
    not_before: Mapped[dt.datetime]  # of the next attempt
    lease_until: Mapped[dt.datetime | None]
    heartbeat_at: Mapped[dt.datetime | None]
    worker: Mapped[str | None] = mapped_column(Text)  # the process that holds the lease
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    message: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[dict[str, Any] | None]  # why it was skipped or failed: a code with parameters
    settings: Mapped[dict[str, Any]]  # kind, name and parameters as they were when the slot was made
    run_id: Mapped[int | None]  # of the newest attempt
    output: Mapped[str | None] = mapped_column(Text)  # executed notebook, below the data folder
    report: Mapped[str | None] = mapped_column(Text)  # HTML page, below the data folder


class SlotAttempt(Base):
    """One attempt at a slot and how it ended."""

    __tablename__ = "slot_attempts"
    __table_args__ = (UniqueConstraint("slot_id", "attempt"),)

    attempt_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    slot_id: Mapped[int] = mapped_column(ForeignKey("schedule_slots.slot_id"))
    attempt: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))  # running, succeeded, failed, timed out, lost, interrupted
    worker: Mapped[str] = mapped_column(Text)
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    exit_code: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[int | None]
    log: Mapped[str | None] = mapped_column(Text)  # below the data folder


class Alert(Base):
    """Something a person must know: raised once, sent until it was received."""

    __tablename__ = "alerts"
    __table_args__ = (UniqueConstraint("topic"),)

    alert_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    topic: Mapped[str] = mapped_column(String(128))  # what it is about: "failed/nightly/2026-01-31" …
    code: Mapped[str] = mapped_column(String(32))  # failed, late, stale …
    content: Mapped[dict[str, Any]]
    raised_at: Mapped[dt.datetime]
    cleared_at: Mapped[dt.datetime | None]
    sent: Mapped[dict[str, Any]]  # channel -> when it was received, or the last trouble and when it is tried again
