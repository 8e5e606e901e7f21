"""What happened in a campaign: lists that come back filled in, made into files that a mapping loads like any other."""

from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import watermarks
from crmlib.decisions.campaigns import book, freeze
from crmlib.decisions.campaigns.plan import CONTROL
from crmlib.errors import DataError, NotFoundError
from crmlib.store import files
from crmlib.store.tables import Campaign
from crmlib.warehouse import LoadReport, schema
from crmlib.warehouse import company as companies

NEEDED = ("customer_id", "contacted_at", "outcome")
BOUGHT = ("contract", "customer_id", "product_id", "opened_on", "channel")
RESPONSES = ["contacted_at", "responded_at", "response"]
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, eq=False)
class Taken:
    """What came of bringing results in.

    Attributes: ``report`` of the load; ``contacts`` rows of lists that say when somebody was contacted; ``untried`` rows
    that do not; ``marks`` watermark rows left out, by the export they belong to (0: none of this data folder).
    """

    report: LoadReport
    contacts: int
    untried: int
    marks: Mapping[str, int]


def mapping_file() -> Path:
    """Return the mapping by which the files are loaded."""
    return Path(__file__).parents[2] / "samples" / "mappings" / "campaign_results.toml"


def bring_in(
    data: Path,
    campaign_id: str,
    lists: Sequence[Path] = (),
    *,
    bought: Sequence[Path] = (),
    now: dt.datetime,
    max_bad_share: float = 0.01,
) -> Taken:
    """Load a campaign, its members and what happened into the warehouse.

    ``lists`` are exported lists (CSV or XLSX) with contacted_at filled in and, where there was an answer, outcome
    (accepted, refused, later …) and answered_at (else the moment of the contact): UTC. Rows without contacted_at were
    not tried and are left out; so are the made-up rows that mark an export. ``bought`` are CSV files of contracts with
    the columns of ``BOUGHT``, for purchases that reach the warehouse by no other way. Without files the campaign and
    its members are loaded, so that everybody sees who was chosen. What was loaded before changes nothing.

    Raises DataError for a list that lacks a column, names somebody who is not contacted in this campaign, or says that
    something happened before its start or after ``now`` or that nobody was contacted, NotFoundError for a missing file; then nothing is loaded.
    """
    row = book.get(data, campaign_id)
    members = freeze.members_of(data, row)
    contacts, untried, marks = _contacts(lists, row, members, now=now)
    if lists and contacts.empty and not bought:
        raise DataError(
            f"{Path(lists[0]).name}: no row says when somebody was contacted; fill in contacted_at, or there is nothing to bring in"
        )
    staging = data / "staging"
    with files.reporting(staging):
        staging.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"results-{campaign_id}-", dir=staging))  # two imports at once do not meet
        made = {
            "campaign.csv": _campaign(row, companies.read(data / "company.toml").currency),
            "members.csv": _members(data, members, contacts),
            "contacts.csv": contacts,
        }
        for name, table in made.items():
            table.to_csv(work / name, index=False, date_format="%Y-%m-%dT%H:%M:%S")
        given = [work / name for name, table in made.items() if len(table)]
        for number, path in enumerate(bought):
            kept, found = _without_marks(_read(Path(path), BOUGHT))
            kept[list(BOUGHT)].to_csv(work / f"bought-{number}.csv", index=False)
            given.append(work / f"bought-{number}.csv")
            marks.extend(found)
    report = warehouse.load(given, mapping_file(), data=data, recorded_at=now, max_bad_share=max_bad_share)
    return Taken(report, len(contacts), untried, _traced(data, marks))


def _traced(data: Path, marks: Sequence[str]) -> dict[str, int]:
    out = {}
    for mark in dict.fromkeys(marks):
        try:
            out[mark] = watermarks.traced(data, mark).export_id
        except NotFoundError:
            out[mark] = 0
    return out


def _contacts(
    lists: Sequence[Path], row: Campaign, members: pd.DataFrame, *, now: dt.datetime
) -> tuple[pd.DataFrame, int, list[str]]:
    """Return the contacts of all lists, how many rows were not tried, and the marks found."""
    parts, marks, untried = [], [], 0
    for path in lists:
        table, found = _without_marks(_read(Path(path), NEEDED))
        tried = table["contacted_at"] != ""
        untried += int((~tried).sum())
        marks.extend(found)
        parts.append(_checked(table[tried], row, members, path=Path(path), now=now))
    columns = [
        "contact_id",
        "customer_id",
        "contacted_at",
        "channel",
        "product_id",
        "campaign_id",
        "answered_at",
        "outcome",
    ]
    if not parts:
        return pd.DataFrame(columns=columns), untried, marks
    every = pd.concat(parts, ignore_index=True).drop_duplicates()
    # Named by its moment: a further attempt in a later file is another contact, the same one again a correction of it.
    moment = every["contacted_at"].dt.strftime("%Y%m%dT%H%M%S")
    again = every.groupby(["customer_id", "contacted_at"]).cumcount()
    plain = row.campaign_id + ":" + every["customer_id"] + ":" + moment
    every["contact_id"] = plain.where(again == 0, plain + "#" + (again + 1).astype(str))
    return every[columns], untried, marks


def _checked(
    table: pd.DataFrame, row: Campaign, members: pd.DataFrame, *, path: Path, now: dt.datetime
) -> pd.DataFrame:
    """Return the tried rows of a list with times as datetimes and the arm's channel and product; refuse what cannot be."""
    out = table.assign(campaign_id=row.campaign_id)
    known = members.drop_duplicates("customer_id").set_index("customer_id")
    arm = out["customer_id"].map(known["arm"])
    wrong = out[arm.isna() | (arm == CONTROL)]
    if len(wrong):
        one = wrong.iloc[0]
        what = "is left alone as its control group" if arm[wrong.index[0]] == CONTROL else "is not a member of it"
        raise DataError(
            f"{path.name}, line {one['line']}: customer {one['customer_id']} was not to be contacted in campaign {row.campaign_id}, but {what}; take the row out"
        )
    for name in ("contacted_at", "answered_at"):
        values = out[name] if name in out else pd.Series("", index=out.index)
        out[name] = _moments(values, out["line"], column=name, path=path)
    out["answered_at"] = out["answered_at"].where(
        out["answered_at"].notna() | (out["outcome"] == ""), out["contacted_at"]
    )
    out["answered_at"] = out["answered_at"].where(out["outcome"] != "")
    start = dt.datetime.combine(row.starts_on, dt.time())
    for bad, column, words in (
        (out["contacted_at"] < start, "contacted_at", f"before the campaign's first day, {row.starts_on}"),
        (out["contacted_at"] > now, "contacted_at", f"after the present, {now:%Y-%m-%d %H:%M}"),
        (out["answered_at"] < out["contacted_at"], "answered_at", "before the contact itself"),
    ):
        if bad.any():
            one = out[bad].iloc[0]
            raise DataError(
                f"{path.name}, line {one['line']}: {column} {one[column]:%Y-%m-%d %H:%M} is {words}; correct the times"
            )
    for name in ("channel", "product_id"):
        out[name] = out["customer_id"].map(known[name])
    return out[["customer_id", "contacted_at", "channel", "product_id", "campaign_id", "answered_at", "outcome"]]


def _moments(values: pd.Series, lines: pd.Series, *, column: str, path: Path) -> pd.Series:
    found = pd.to_datetime(values.where(values != ""), format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    wrong = found.isna() & (values != "")
    if wrong.any():
        raise DataError(
            f"{path.name}, line {lines[wrong].iloc[0]}: {column} is {values[wrong].iloc[0]!r}; write it as 2026-01-31 14:05 (UTC)"
        )
    return found.astype("datetime64[us]")


def _without_marks(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of texts without made-up rows, wherever in the row the mark stands, and the marks."""
    found = table["customer_id"].map(watermarks.is_marked).astype(bool)
    return table[~found], table.loc[found, "customer_id"].tolist()


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Return a CSV or XLSX file as a table of texts, with the line of each row, apostrophes of the export taken off."""
    if not path.exists():
        raise NotFoundError(f"{path}: no such file; give the list that came back")
    rows = _xlsx(path) if path.suffix.lower() == ".xlsx" else _csv(path)
    if not rows:
        raise DataError(f"{path.name}: the file is empty; give the list that came back")
    head = [name.strip() for name in rows[0]]
    missing = [name for name in needed if name not in head]
    if missing:
        raise DataError(f"{path.name}: no column {', '.join(missing)}; it has {', '.join(head)}")
    cells = [
        [_plain(value) for value in [*row, *[""] * (len(head) - len(row))][: len(head)]] for row in rows[1:] if any(row)
    ]
    lines = [number for number, row in enumerate(rows[1:], start=2) if any(row)]
    return pd.DataFrame(cells, columns=head, dtype="str").assign(line=lines)


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 text ({error.reason}); save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def _xlsx(path: Path) -> list[list[str]]:
    from openpyxl import load_workbook  # noqa: PLC0415  half a second that only spreadsheets need

    try:
        book_ = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        raise DataError(f"{path.name}: not a readable XLSX file ({type(error).__name__}); save it again") from error
    sheet = book_.worksheets[0]
    out = [[_cell(value) for value in row] for row in sheet.iter_rows(values_only=True)]
    book_.close()
    return out


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, dt.datetime | dt.date) else str(value)


def _plain(value: str) -> str:
    """Return a cell without the apostrophe that kept it from being a formula."""
    stripped = value.strip()
    return stripped[1:] if stripped[:1] == "'" and stripped[1:2] in "=+-@" else stripped


def _campaign(row: Campaign, currency: str) -> pd.DataFrame:
    plan = book.plan_of(row)
    values = {
        "campaign_id": row.campaign_id,
        "name": row.name,
        "goal": plan.goal,
        "product_id": plan.products[0],
        "channel": plan.channels[0],
        "starts_on": row.starts_on,
        "ends_on": row.ends_on,
        "budget_minor": plan.budget_minor,
        "currency": currency,
    }
    return pd.DataFrame([values])


def _members(data: Path, members: pd.DataFrame, contacts: pd.DataFrame) -> pd.DataFrame:
    """Return all members with what is known of them by now: first contact, last answer, earlier loads included."""
    table = schema.tables()["campaign_members"]
    own = sa.and_(table.c.campaign_id == str(members["campaign_id"].iloc[0]), table.c.superseded_at.is_(None))
    before = warehouse.open(paths.warehouse(data)).read(
        sa.select(table.c.customer_id, *[table.c[n] for n in RESPONSES]).where(own)
    )
    new = contacts.rename(columns={"answered_at": "responded_at", "outcome": "response"})
    known = pd.concat([before, new[["customer_id", *RESPONSES]]], ignore_index=True)
    known["response"] = known["response"].where(known["response"].notna() & (known["response"] != ""))
    first = known.groupby("customer_id")["contacted_at"].min()
    last = (
        known.dropna(subset=["response"])
        .sort_values("responded_at", kind="stable")
        .drop_duplicates("customer_id", keep="last")
    )
    last = last.set_index("customer_id")
    ids = members["customer_id"]
    out = members[["campaign_id", "customer_id", "assigned_at", "arm", "control"]].assign(contacted_at=ids.map(first))
    out = out.assign(responded_at=ids.map(last["responded_at"]), response=ids.map(last["response"]))
    return out.assign(control=out["control"].map({True: "true", False: "false"}))
