"""Loading: from files and databases to a new version of the warehouse."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import sqlalchemy as sa
from tqdm import tqdm

from crmlib import paths
from crmlib.errors import DataError
from crmlib.store import session as stores
from crmlib.store.tables import Load
from crmlib.warehouse import changes, engine, mapping, quarantine, rules, snapshot, sources
from crmlib.warehouse import company as companies
from crmlib.warehouse.mapping import FileMapping, Section
from crmlib.warehouse.reading import literal
from crmlib.warehouse.sources import Source, Staged
from crmlib.warehouse.versions import Conflict, building, lineage, machine_faults

ATTEMPTS = 3
"""How often a load is compared anew when other loads are published meanwhile."""

MEMORY = "2GB"
"""Memory of the database engine while loading; more goes to disk."""

COUNTS = ("input", "accepted", "changed", "quarantined", "unchanged")


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes: ``load_id`` its number; ``version`` the version served afterwards (None where there is none yet);
    ``counts`` one row per canonical table: table, input, accepted (changed included), changed, quarantined, unchanged;
    ``quarantine`` the report of refused rows, None where there are none; ``noop`` whether no version was made;
    ``messages`` what a person should know.
    """

    load_id: int
    version: int | None
    counts: pd.DataFrame
    quarantine: Path | None
    noop: bool
    messages: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """What all steps of one load need to know."""

    load_id: int
    data: Path
    recorded_at: dt.datetime
    now: dt.datetime
    max_bad_share: float
    company: companies.Company
    sections: tuple[Section, ...]

    @property
    def work(self) -> Path:
        """The folder of the staging file; its number says which process it belongs to."""
        return self.data / "staging" / f"load-{self.load_id:06d}-{os.getpid()}"

    @property
    def staging(self) -> Path:
        return self.work / "rows.duckdb"


class _TooManyBad(DataError):
    """More rows than allowed are bad."""

    def __init__(self, message: str, *, report: Path, counts: dict[str, dict[str, int]]) -> None:
        super().__init__(message)
        self.report = report
        self.counts = counts


def load(
    given: Sequence[str | Path],
    mapping_file: str | Path | Mapping[str, Any],
    *,
    data: Path,
    recorded_at: dt.datetime,
    max_bad_share: float = 0.01,
    company: companies.Company | None = None,
    now: dt.datetime | None = None,
    progress: bool = False,
) -> LoadReport:
    """Load files, folders and databases into the warehouse of a data folder, as one new version.

    ``given`` are paths and SQLAlchemy URLs, ``mapping_file`` says what their columns mean (docs/mapping.md).
    ``recorded_at`` (UTC) is when the company came to know what changed; ``now`` the time written into the ledger
    (default: the same). Good rows go in, bad ones to ``data/quarantine``; where more than ``max_bad_share`` of a
    file's rows are bad, nothing changes. What was loaded before changes nothing either.

    Raises DataError for a mapping or a file that cannot be used, NotFoundError for one that is not there,
    EnvironmentFault where the machine refuses; then nothing was changed.
    """
    plan = mapping.read(mapping_file)
    found = sources.with_digests(sources.find(given, plan))
    moment = _utc(recorded_at)
    with machine_faults(data):
        job = _Job(
            load_id=0,
            data=data,
            recorded_at=moment,
            now=_utc(now) if now else moment,
            max_bad_share=max_bad_share,
            company=company or companies.read(data / "company.toml"),
            sections=plan.sections,
        )
        job = replace(job, load_id=_begin(job, found))
        try:
            return _load(job, found, progress=progress)
        except _TooManyBad as error:
            refused = {"quarantine": _below(data, error.report), "counts": error.counts}
            _finish(job, state="rejected", message=str(error), **refused)
            raise
        except BaseException as error:
            _finish(job, state="failed", message=str(error) or type(error).__name__)
            raise
        finally:
            shutil.rmtree(job.work, ignore_errors=True)


def _load(job: _Job, found: list[tuple[Source, str]], *, progress: bool) -> LoadReport:
    known = all(digest for _, digest in found)
    if known and (earlier := _earlier(job, found, _fingerprint(job, found))):
        return _nothing_to_do(job, earlier)
    staged = _stage(job, found, progress=progress)
    if not known:
        fingerprint = _fingerprint(job, [(one.source, one.sha256) for one in staged])
        if earlier := _earlier(job, found, fingerprint):
            return _nothing_to_do(job, earlier)
        _update(job, fingerprint=fingerprint)
    _update(
        job, sources={**{one.source.name: {"sha256": one.sha256, "rows": one.rows + one.refused} for one in staged}}
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _publish(job, staged)
        except Conflict:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _stage(job: _Job, found: list[tuple[Source, str]], *, progress: bool) -> list[Staged]:
    """Bring the sources into the staging file, cast their rows and check all that a row shows by itself."""
    job.work.mkdir(parents=True)
    sizes = [source.path.stat().st_size for source, _ in found if source.path]
    staged = []
    # Compressing what lives for seconds would cost a third of the time.
    settings: dict[str, Any] = {**_limits(job), "force_compression": "uncompressed"}
    if not any(source.kind == "parquet" for source, _ in found):
        # Parts of text come one after the other; a second thread has nothing to do but to wait, which costs as much.
        settings["threads"] = 1
    with (
        engine.connect(job.staging, **settings) as connection,
        tqdm(total=sum(sizes) or None, unit="B", unit_scale=True, desc="load", disable=not progress) as bar,
    ):
        # In one transaction, since rows of each part by itself would be written twice, to the log first.
        connection.execute("BEGIN")
        rules.create_tables(connection, job.sections)
        for number, (source, digest) in enumerate(found):
            bar.set_postfix_str(source.name)
            places = [(job.sections.index(section), section) for section in source.sections]
            with sources.readable(source):
                one = sources.stage(
                    connection,
                    source,
                    number,
                    sha256=digest,
                    folder=job.work,
                    take=partial(_cast, connection, job, places),
                    advance=bar.update,
                )
                for place, section in places:
                    rules.name_problems(connection, one, place, section, recorded_at=job.recorded_at)
            staged.append(one)
        for number, section in enumerate(job.sections):
            rules.find_duplicates(connection, number, section)
        connection.execute("COMMIT")
    return staged


def _cast(
    connection: duckdb.DuckDBPyConnection, job: _Job, places: Sequence[tuple[int, Section]], part: sources.Part
) -> None:
    for number, section in places:
        rules.cast(connection, part, number, section, recorded_at=job.recorded_at)


def _limits(job: _Job) -> dict[str, str]:
    return {"memory_limit": MEMORY, "temp_directory": str(job.work / "spill")}


def _publish(job: _Job, staged: list[Staged]) -> LoadReport:
    """Compare the staged rows with the served version and publish what results, unless nothing does."""
    with building(job.data, now=job.now, company=job.company) as begun:
        connection = begun.connection
        for name, value in _limits(job).items():
            connection.execute(f"SET {name} = {literal(value)}")
        connection.execute(f"ATTACH {literal(str(job.staging))} AS staging (READ_ONLY)")
        connection.execute(f"CREATE TEMP TABLE orphans ({rules.PROBLEMS})")
        for number in rules.in_order(job.sections):
            rules.find_orphans(connection, number, job.sections)
            rules.keep_good(connection, number)
        bad = quarantine.counts(connection)
        _check_share(job, staged, bad, connection)
        found = changes.apply(connection, job.sections, load_id=job.load_id, recorded_at=job.recorded_at)
        counts = _counts(job, staged, bad, found)
        report = quarantine.write(connection, job.data / "quarantine", job.load_id, job.sections, staged)
        messages = _messages(staged, counts, report)
        ended = {
            "finished_at": job.now,
            "counts": counts,
            "quarantine": _below(job.data, report),
            "message": "; ".join(messages) or None,
        }
        version, state = begun.parent, "unchanged"
        if any(one.new or one.changed for one in found.values()) or _other_company(job, begun.parent):
            version, state = begun.publish({"load_id": job.load_id, "state": "accepted", **ended}), "accepted"
    if state == "unchanged":
        _update(job, state=state, **ended)
    return LoadReport(job.load_id, version, _frame(counts), report, state == "unchanged", tuple(messages))


def _other_company(job: _Job, parent: int | None) -> bool:
    """Return whether the company file has changed since the served version was built."""
    if parent is None:
        return False
    file = paths.warehouse(job.data) / f"v{parent:06d}.duckdb"
    return snapshot.open_file(file).company != job.company


def _check_share(
    job: _Job, staged: list[Staged], bad: dict[tuple[int, int], int], connection: duckdb.DuckDBPyConnection
) -> None:
    for (section, file), number in bad.items():
        one = staged[file]
        rows = one.rows + one.refused
        if number > job.max_bad_share * rows:
            report = quarantine.write(connection, job.data / "quarantine", job.load_id, job.sections, staged)
            assert report is not None
            raise _TooManyBad(
                f"{one.source.name}: {number} of {rows} rows ({number / rows:.1%}) cannot go into "
                f"{job.sections[section].table}, and at most {job.max_bad_share:.1%} may be bad, so nothing was loaded; "
                f"most often: {quarantine.commonest(connection, section, file)}; {report} says for each row what to do",
                report=report,
                counts=_counts(job, staged, bad, {}),
            )


def _counts(
    job: _Job, staged: list[Staged], bad: dict[tuple[int, int], int], found: Mapping[int, changes.Changes]
) -> dict[str, dict[str, int]]:
    """Return the counts by canonical table; without ``found`` (nothing was loaded) nothing counts as accepted."""
    counts: dict[str, dict[str, int]] = {}
    for number, section in enumerate(job.sections):
        files = [one for one in staged if section in one.source.sections]
        if not files:
            continue
        table = counts.setdefault(section.table, dict.fromkeys(COUNTS, 0))
        rows = sum(one.rows + one.refused for one in files)
        quarantined = sum(bad.get((number, one.number), 0) for one in files)
        change = found.get(number, changes.Changes(0, 0))
        accepted = change.new + change.changed
        table["input"] += rows
        table["accepted"] += accepted
        table["changed"] += change.changed
        table["quarantined"] += quarantined
        table["unchanged"] += rows - quarantined - accepted
    return counts


def _frame(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    rows = [{"table": name, **values} for name, values in counts.items()]
    return pd.DataFrame(rows, columns=["table", *COUNTS]).astype({"table": "str", **dict.fromkeys(COUNTS, "int64")})


def _messages(staged: list[Staged], counts: dict[str, dict[str, int]], report: Path | None) -> list[str]:
    messages = [f"{one.source.name} has no rows" for one in staged if not one.rows + one.refused]
    bad = sum(table["quarantined"] for table in counts.values())
    if report:
        messages.append(
            f"{bad} rows were refused; {report} says why, and the rows lie beside it: correct them and load those files "
            "with the same mapping"
        )
    return messages


# ---------------------------------------------------------------- the ledger of loads


def _fingerprint(job: _Job, found: Sequence[tuple[Source, str]]) -> str:
    """Return the hash of all that decides what a load brings: contents, mapping, company."""
    content = sorted(f"{digest} {[section.label for section in source.sections]}" for source, digest in found)
    text = "\n".join([*content, FileMapping("", job.sections).to_json(), job.company.to_json()])
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(job: _Job, found: Sequence[tuple[Source, str]]) -> int:
    with stores.session(job.data) as store:
        row = Load(
            state="running",
            started_at=job.now,
            recorded_at=job.recorded_at,
            fingerprint=_fingerprint(job, found),
            sources={source.name: {"sha256": digest} for source, digest in found},
        )
        store.add(row)
        store.commit()
        return row.load_id


def _update(job: _Job, **fields: Any) -> None:
    with stores.session(job.data) as store:
        store.execute(sa.update(Load).where(Load.load_id == job.load_id).values(**fields))
        store.commit()


def _finish(job: _Job, **fields: Any) -> None:
    """Write how a load that brought nothing ended, unless the store itself is what failed."""
    with _as_far_as_possible():
        _update(job, finished_at=job.now, **fields)


@contextmanager
def _as_far_as_possible() -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, stores.StoreFault):
        return


def _earlier(job: _Job, found: Sequence[tuple[Source, str]], fingerprint: str) -> Load | None:
    """Return the accepted load that brought the same, if the served version has it.

    A dump says what holds now: loading an old one again means something unless it was the last of its tables.
    """
    dumps = {section.table for source, _ in found for section in source.sections if section.dump}
    with stores.session(job.data) as store:
        accepted = sa.select(Load).where(Load.state == "accepted", Load.version.in_(lineage(job.data)))
        for row in store.scalars(accepted.order_by(Load.load_id.desc())):
            if row.fingerprint == fingerprint:
                store.expunge(row)
                return row
            if dumps & set(row.counts or {}):
                return None
    return None


def _nothing_to_do(job: _Job, earlier: Load) -> LoadReport:
    message = f"the same was loaded before (load {earlier.load_id}); nothing to do"
    counts = {
        name: {**table, "accepted": 0, "changed": 0, "unchanged": table["input"] - table["quarantined"]}
        for name, table in (earlier.counts or {}).items()
    }
    _update(job, state="unchanged", finished_at=job.now, counts=counts, message=message)
    report = job.data / earlier.quarantine if earlier.quarantine else None
    served = lineage(job.data)[0]
    return LoadReport(job.load_id, served, _frame(counts), report, True, (message,))


def _below(data: Path, path: Path | None) -> str | None:
    return path.relative_to(data).as_posix() if path else None


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
