"""What past retention campaigns changed: the relative risk of leaving by channel, from randomised control groups.

A campaign counts where its goal is "retention" and some of its members were left alone at random. Members are compared
within a campaign and within the channels they consented to, since the channel could only be drawn from those; the
strata are put together by Mantel and Haenszel's risk ratio with the interval of Greenland & Robins (1985, Biometrics 41,
55-68). Everybody counts as assigned, reached or not. What is found for a reason or a group of customers is drawn towards
what is found for all by as much as chance explains (DerSimonian & Laird 1986, Controlled Clinical Trials 7, 177-188).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy.special import ndtri

from crmlib.errors import DataError, UsageError
from crmlib.models import uplift_campaigns
from crmlib.models.churn import definitions
from crmlib.warehouse.snapshot import Snapshot

GOAL = "retention"
UNPREVENTABLE = ("death_or_moving", "death", "moving", "matured")
"""Reasons of leaving that no contact prevents: their relative risk is taken to be 1."""
REFUSES = "refuses_calls"
"""The group of customers who refused a call within the year before and accepted none."""
NEED_LEFT = 20
"""Departures among the members of campaigns, and a quarter of it in the control groups, below which nothing is learnt."""
NEED_REASON = 10
"""Departures for a reason, or of a group, below which it has no effect of its own."""
CAUTION = 0.8
"""How sure it must be that a channel prevents at least so much as decisions count on."""
COLUMNS = ["campaign_id", "customer_id", "assigned_at", "channel", "able", "group", "left", "reason"]
MEASURED = ["channel", "group", "reason", "control", "control_left", "treated", "treated_left"]
EFFECTS = ["channel", "group", "reason", "relative_risk", "low", "high", "cautious", "basis"]

_USUAL = definitions.Relationship()
_Z = 1.959963984540054  # normal quantile of 0.975
_YEAR = pd.Timedelta(days=365)


def members(
    snapshot: Snapshot, *, within_days: int = 90, definition: definitions.Relationship = _USUAL
) -> pd.DataFrame:
    """Return the members of past retention campaigns whose outcome was known at the snapshot; no row where there are none.

    Out: campaign_id, customer_id, assigned_at (day), channel ("" for the control group), able (the campaign's channels
    that the customer consented to on that day), group (``REFUSES`` or "", as of that day), left (within ``within_days``
    of the assignment), reason ("" who stayed, else as ``definition`` names it). Campaigns without a control group are left
    out. Raises UsageError for days below 1.
    """
    if within_days < 1:
        raise UsageError(f"within_days is {within_days}; give at least one day after the assignment")
    about = snapshot.table("campaigns", ["campaign_id", "goal", "product_id", "channel"])
    about = about[about["goal"] == GOAL].drop(columns="goal")
    rows = snapshot.table("campaign_members", ["campaign_id", "customer_id", "assigned_at", "arm", "control"])
    rows = rows.merge(about, on="campaign_id", validate="many_to_one")
    day = rows["assigned_at"].dt.normalize()
    known = day + pd.Timedelta(days=within_days - 1) <= pd.Timestamp(snapshot.as_of)
    rows = rows.assign(assigned_at=day)[known]
    control = rows["control"].astype(bool)
    rows = rows[rows["campaign_id"].isin(rows.loc[control, "campaign_id"])]
    if rows.empty:
        return pd.DataFrame({name: pd.Series(dtype=bool if name == "left" else "str") for name in COLUMNS})
    rows = uplift_campaigns.with_channels(snapshot, rows)
    control = rows["control"].astype(bool)
    rows = rows.assign(channel=rows["named"].where(~control, ""))[control | (rows["named"] != "")]
    rows = _with_departures(snapshot, rows.reset_index(drop=True), within_days, definition)
    rows = rows.assign(able=_able(snapshot, rows), group=groups_of(snapshot, rows[["customer_id", "assigned_at"]]))
    return rows[COLUMNS].reset_index(drop=True)


def groups(snapshot: Snapshot) -> pd.DataFrame:
    """Return the group of every customer as of the snapshot: customer_id, group (``REFUSES`` or "")."""
    table = snapshot.table("customers", ["customer_id"])
    at = pd.Timestamp(snapshot.as_of) + pd.Timedelta(days=1)
    return table.assign(group=groups_of(snapshot, table.assign(assigned_at=at)))


def groups_of(snapshot: Snapshot, rows: pd.DataFrame) -> np.ndarray:
    """Return the group of each row's customer_id before its assigned_at, from the answers to calls of the year before."""
    made = snapshot.select("contacts").subquery("made")
    names = ("customer_id", "occurred_at", "answered_at", "outcome")
    query = sa.select(*[made.c[name] for name in names]).where(
        made.c.direction == "out", made.c.channel == "call", made.c.outcome.in_(("refused", "accepted"))
    )
    calls = snapshot.warehouse.read(query)
    keyed = rows[["customer_id", "assigned_at"]].assign(place=np.arange(len(rows)))
    both = keyed.merge(calls, on="customer_id", validate="many_to_many")
    answered = both["answered_at"].fillna(both["occurred_at"])
    before = (answered < both["assigned_at"]) & (both["occurred_at"] >= both["assigned_at"] - _YEAR)
    both = both[before]
    refused, accepted = (
        np.bincount(both.loc[both["outcome"] == outcome, "place"], minlength=len(rows))
        for outcome in ("refused", "accepted")
    )
    return np.where((refused > 0) & (accepted == 0), REFUSES, "").astype(object)


def measured(found: pd.DataFrame, *, unpreventable: Sequence[str] = UNPREVENTABLE) -> pd.DataFrame:
    """Return what each channel changed: of all, by reason of leaving, and by group of customers.

    In: a table of ``members``. Out: one row per channel and reason ("" all, "preventable" all but ``unpreventable``)
    and one per channel and group (of the preventable), with control, control_left, treated, treated_left (numbers of
    those compared), relative_risk and its 95% interval low, high; nan where nobody of either side left.

    Raises DataError for a table without departures to learn from.
    """
    _check(found)
    preventable = found["left"] & ~found["reason"].isin(list(unpreventable))
    outcomes = {"": found["left"], "preventable": preventable}
    outcomes |= {name: found["reason"] == name for name in sorted(set(found["reason"]) - {""})}
    rows = []
    for channel in _channels(found):
        for reason, left in outcomes.items():
            rows.append({"channel": channel, "group": "all", "reason": reason} | _compared(found, left, channel))
        for group in sorted(set(found["group"])):
            own = (found["group"] == group).to_numpy()
            part = _compared(found[own], preventable[own], channel)
            rows.append({"channel": channel, "group": group, "reason": "preventable"} | part)
    return pd.DataFrame(rows)[[*MEASURED, "relative_risk", "low", "high"]]


def effects(
    found: pd.DataFrame, *, caution: float = CAUTION, unpreventable: Sequence[str] = UNPREVENTABLE
) -> pd.DataFrame:
    """Return the relative risk of leaving that decisions count on, by channel, group and reason.

    In: a table of ``members``; ``caution`` how sure it must be that a channel prevents at least so much (0.5: the
    estimate itself). Out: channel, group, reason ("" for one not listed), relative_risk with its 95% interval low, high;
    cautious: the relative risk counted on, raised by the error of what is found for all departures together. That errs
    for all customers alike, while differences between reasons and groups err both ways and even out over a list.
    basis: "own" where the reason has an effect of its own, drawn towards that of all; "pooled" where there are too few
    departures for one, or the reasons differ no more than by chance; "fixed" for what no contact prevents.

    Raises UsageError for a caution outside 0.5 to 0.99, DataError where there is too little to learn from.
    """
    if not 0.5 <= caution <= 0.99:
        raise UsageError(f"caution is {caution}; give a probability from 0.5 to 0.99")
    table = measured(found, unpreventable=unpreventable)
    rows = []
    for channel in _channels(found):
        own = table[table["channel"] == channel]
        whole = own[(own["group"] == "all") & (own["reason"] == "preventable")].iloc[0]
        if not np.isfinite(whole["high"]):
            continue  # nobody of one side left: nothing to count on
        mean, error = _log(whole["relative_risk"], whole["high"])
        reasons = own[(own["group"] == "all") & ~own["reason"].isin(["", "preventable", *unpreventable])]
        by_reason, other = _deviations(reasons, "reason", mean=mean)
        by_group, _ = _deviations(own[own["group"] != "all"], "group", mean=mean)
        for group, (shift, more, _) in by_group.items():
            for reason, (away, spread, basis) in {**by_reason, "": other}.items():
                errors = (float(np.sqrt(error**2 + spread + more)), float(ndtri(caution) * error))
                rows.append(_effect((channel, group, reason, basis), mean + away + shift, errors))
            rows += [_effect((channel, group, name, "fixed"), 0.0, (0.0, 0.0)) for name in unpreventable]
    if not rows:
        raise DataError(
            "not enough data for the effect of retention: no channel has preventable departures both among those "
            "contacted and in its control group; run more or larger campaigns with control groups"
        )
    return pd.DataFrame(rows)[EFFECTS]


def risk_ratio(strata: pd.DataFrame) -> tuple[float, float]:
    """Return the logarithm of Mantel and Haenszel's risk ratio and its standard error (Greenland & Robins 1985).

    In: one row a stratum with treated, treated_left, control, control_left (numbers). Both are nan where nobody of
    either side left.

    >>> one = pd.DataFrame({"treated": [100], "treated_left": [10], "control": [100], "control_left": [20]})
    >>> round(float(np.exp(risk_ratio(one)[0])), 3)
    0.5
    """
    a, c = strata["treated_left"].to_numpy(float), strata["control_left"].to_numpy(float)
    n1, n0 = strata["treated"].to_numpy(float), strata["control"].to_numpy(float)
    both = (n1 > 0) & (n0 > 0)
    a, c, n1, n0 = a[both], c[both], n1[both], n0[both]
    n = n1 + n0
    above, below = float(np.sum(a * n0 / n)), float(np.sum(c * n1 / n))
    if above <= 0 or below <= 0:
        return np.nan, np.nan
    spread = float(np.sum((n1 * n0 * (a + c) - a * c * n) / n**2)) / (above * below)
    return float(np.log(above / below)), float(np.sqrt(max(spread, 0.0)))


def _compared(found: pd.DataFrame, left: pd.Series, channel: str) -> dict[str, float]:
    """Return the members of one channel against the control groups that could have been given it."""
    able = found["able"].isin([names for names in found["able"].unique() if channel in names.split()])
    of = (found["channel"] == channel) | ((found["channel"] == "") & able)
    part = found[of].assign(left=left[of], treated=found.loc[of, "channel"] != "")
    part = part.assign(treated_left=part["left"] & part["treated"], control=~part["treated"])
    part = part.assign(control_left=part["left"] & part["control"])
    counts = ["control", "control_left", "treated", "treated_left"]
    strata = part.groupby(["campaign_id", "able"])[counts].sum()
    strata = strata[(strata["treated"] > 0) & (strata["control"] > 0)]
    log, error = risk_ratio(strata)
    out = {name: int(strata[name].sum()) for name in counts}
    low, high = np.exp(log - _Z * error), np.exp(log + _Z * error)
    return {**out, "relative_risk": float(np.exp(log)), "low": float(low), "high": float(high)}


def _deviations(
    rows: pd.DataFrame, key: str, *, mean: float
) -> tuple[dict[str, tuple[float, float, str]], tuple[float, float, str]]:
    """Return by ``key`` how far the log of the effect lies from ``mean``, with its variance and basis; and that of others.

    The deviations found are drawn towards 0 by their variance against the variance between them.
    """
    enough = (rows["control_left"] + rows["treated_left"] >= NEED_REASON) & np.isfinite(rows["high"])
    usable = rows[enough]
    found = [_log(*pair) for pair in zip(usable["relative_risk"], usable["high"], strict=True)]
    y, v = np.array([value - mean for value, _ in found]), np.array([error**2 for _, error in found])
    between = 0.0
    if len(y) > 1:
        w = 1 / v
        between = max(0.0, float((w @ y**2 - (len(y) - 1)) / (w.sum() - (w @ w) / w.sum())))
    other = (0.0, between, "pooled")
    out = {str(name): other for name in rows[key]}
    for name, value, variance in zip(usable[key], y, v, strict=True):
        kept = between / (between + variance)
        out[str(name)] = (float(kept * value), float(kept * variance), "own" if kept else "pooled")
    return out, other


def _log(ratio: float, high: float) -> tuple[float, float]:
    """Return the logarithm of a ratio and its standard error, from the upper end of its interval."""
    return float(np.log(ratio)), float(np.log(high / ratio) / _Z)


def _effect(keys: tuple[str, str, str, str], log: float, errors: tuple[float, float]) -> dict[str, object]:
    """Return a row of effects: ``errors`` are the standard error of all, and the allowance for caution."""
    channel, group, reason, basis = keys
    bounds = {name: float(np.exp(log + z * errors[0])) for name, z in (("low", -_Z), ("high", _Z))}
    named = {"channel": channel, "group": group, "reason": reason, "basis": basis}
    return {**named, "relative_risk": float(np.exp(log)), **bounds, "cautious": float(np.exp(log + errors[1]))}


def _channels(found: pd.DataFrame) -> list[str]:
    return sorted(set(found["channel"]) - {""})


def _with_departures(
    snapshot: Snapshot, rows: pd.DataFrame, within_days: int, definition: definitions.Relationship
) -> pd.DataFrame:
    ended = snapshot.table("customers", ["customer_id", "closed_on", "closed_reason"])
    out = rows.merge(ended, on="customer_id", how="left", validate="many_to_one")
    after = out["closed_on"] - out["assigned_at"]
    left = (after >= pd.Timedelta(0)) & (after < pd.Timedelta(days=within_days))
    recorded = out["closed_reason"].astype(object).where(out["closed_reason"].notna(), None)
    named = {value: definitions.reason_of(definition, value) for value in recorded.unique()}
    return out.assign(left=left, reason=recorded.map(named).astype("str").where(left, ""))


def _able(snapshot: Snapshot, rows: pd.DataFrame) -> list[str]:
    """Return by row the channels of its campaign that the customer consented to on the day, as words in one text."""
    said = snapshot.table("consents")
    said = said[said["purpose"] == "marketing"]
    company = snapshot.warehouse.company
    used = rows[rows["channel"] != ""].groupby("campaign_id")["channel"].unique()
    out = np.full(len(rows), "", dtype=object)
    for campaign, channels in used.items():
        own = np.flatnonzero(rows["campaign_id"] == campaign)
        part = rows.iloc[own]
        for channel in sorted(channels):
            about = said[said["channel"].isin([channel, "all"])]
            asked = part[["customer_id", "assigned_at"]].merge(about, on="customer_id", validate="one_to_many")
            asked = asked[asked["changed_at"] < asked["assigned_at"] + pd.Timedelta(days=1)]
            asked = asked.sort_values(["changed_at", "granted"], ascending=[True, False], kind="stable")
            last = asked.drop_duplicates("customer_id", keep="last").set_index("customer_id")["granted"]
            granted = part["customer_id"].map(last.astype(object))
            missing = company.consent_when_missing == "granted"
            yes = np.array([missing if pd.isna(one) else bool(one) for one in granted])
            # Who was given the channel could be given it, whatever the records say.
            yes |= (part["channel"] == channel).to_numpy()
            out[own[yes]] += f"{channel} "
    return [str(text).strip() for text in out]


def _check(found: pd.DataFrame) -> None:
    if found.empty:
        raise DataError(
            'there is no past campaign with the goal "retention", a control group and a known outcome, so what a '
            "contact saves is unknown; run one with a control group at random"
        )
    left = int(found["left"].sum())
    alone = int(found.loc[found["channel"] == "", "left"].sum())
    if left < NEED_LEFT or alone < NEED_LEFT // 4:
        raise DataError(
            f"not enough data for the effect of retention: {left} members of past campaigns left (need {NEED_LEFT}), "
            f"{alone} of them in control groups (need {NEED_LEFT // 4}); run more or larger campaigns with control groups"
        )
