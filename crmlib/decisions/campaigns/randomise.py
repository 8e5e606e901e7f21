"""Random assignment: who is left alone and who gets which arm, stratified, seeded, in exact proportions.

Within a stratum, people in random order are cut by systematic sampling: with a random start u, the first g groups get
floor(u + n × W_g) − floor(u) of n people, where W_g is their share. Each group then has the whole number just below or
just above its exact part, and everybody the same chance. For the control group the start runs on from stratum to
stratum, so that its total is exact too (Särndal, Swensson, Wretman 1992, Model Assisted Survey Sampling, 3.4).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.decisions.campaigns.plan import CONTROL, MAXIMUM_CONTROL
from crmlib.errors import DataError, UsageError

NOBODY = -1


def assign(
    people: pd.DataFrame, may: np.ndarray, *, arms: pd.DataFrame, control_share: float, seed: int
) -> pd.DataFrame:
    """Return an arm, or the control group, for everybody whom at least one arm may contact.

    In: ``people`` with customer_id (once each) and, to stratify by, stratum (text); ``may`` a truth value for each row
    of ``people`` and row of ``arms``; ``arms`` with arm, weight, channel, product_id. Who may be contacted by other arms
    is another stratum, so that an arm and its control are alike in that too. Out: customer_id, arm, control, stratum,
    channel, product_id (empty for the control group), sorted by customer_id; the same for the same seed whatever the
    order of ``people``.

    Raises DataError where nobody may be contacted or where the groups cannot both have a member.

    >>> people = pd.DataFrame({"customer_id": list("abcd"), "stratum": "north"})
    >>> arms = pd.DataFrame({"arm": ["card by e-mail"], "weight": 1.0, "channel": "email", "product_id": "card"})
    >>> assign(people, np.ones((4, 1), bool), arms=arms, control_share=0.25, seed=1)["control"].sum()
    np.int64(1)
    """
    if not 0 < control_share <= MAXIMUM_CONTROL:
        raise UsageError(f"control_share is {control_share}; give a share above 0 and up to {MAXIMUM_CONTROL}")
    ids = people["customer_id"].to_numpy(dtype=object)
    if len(set(ids)) < len(ids):
        raise DataError("table people, column customer_id: a customer comes twice; give each once")
    patterns = may.astype(bool) @ (1 << np.arange(may.shape[1], dtype=np.int64))
    inside = np.flatnonzero(patterns)
    if not len(inside):
        raise DataError(
            "nobody in the audience may be contacted by any arm (consent, contact policy, eligibility); widen the audience or add a channel"
        )
    inside = inside[np.argsort(ids[inside], kind="stable")]
    rng = np.random.default_rng(seed)
    given = people["stratum"].to_numpy(dtype=object) if "stratum" in people else np.full(len(people), "", dtype=object)
    strata, labels = _strata(given[inside], patterns[inside], arms["channel"].tolist())
    chosen = draw(strata, may[inside], weights=arms["weight"].to_numpy(float), control_share=control_share, rng=rng)
    control = chosen == NOBODY
    if not control.any() or control.all():
        raise DataError(
            f"of {len(inside):,} people who may be contacted, a control group of {control_share:.0%} leaves "
            f"{'nobody to treat' if control.all() else 'a control group of nobody'}; widen the audience or change control_share"
        )
    named = {name: np.append(arms[name].to_numpy(dtype=object), last) for name, last in _LAST.items()}
    return pd.DataFrame(
        {
            "customer_id": ids[inside],
            "arm": named["arm"][chosen],
            "control": control,
            "stratum": labels[strata],
            "channel": named["channel"][chosen],
            "product_id": named["product_id"][chosen],
        }
    )


_LAST = {"arm": CONTROL, "channel": "", "product_id": ""}  # of the control group, which NOBODY points at


def _strata(given: np.ndarray, patterns: np.ndarray, channels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each person's stratum and the names of the strata, in order."""
    words = {
        pattern: "+".join(dict.fromkeys(name for bit, name in enumerate(channels) if pattern >> bit & 1))
        for pattern in set(patterns.tolist())
    }
    # Arms of one channel can differ in whom they may contact, so the pattern itself is part of the name where words are not enough.
    ambiguous = len(set(words.values())) < len(words)
    names = [
        f"{stratum} / {words[pattern]}{f' #{pattern}' if ambiguous else ''}".removeprefix(" / ")
        for stratum, pattern in zip(given.tolist(), patterns.tolist(), strict=True)
    ]
    labels, strata = np.unique(np.array(names, dtype=object), return_inverse=True)
    return strata, labels


def draw(
    strata: np.ndarray, may: np.ndarray, *, weights: np.ndarray, control_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the number of the arm drawn for each person, ``NOBODY`` for the control group.

    In: ``strata`` the stratum of each person (0, 1, …), within which all rows of ``may`` (person × arm) are the same and
    not empty; ``weights`` of the arms.
    """
    count = len(strata)
    order = np.lexsort((rng.random(count), strata))
    sizes = np.bincount(strata)
    ends = np.cumsum(sizes)
    cuts = np.floor(rng.random() + control_share * ends).astype(np.int64)
    controls = np.diff(cuts, prepend=0)
    chosen = np.full(count, NOBODY, dtype=np.int64)
    starts = rng.random(len(sizes))
    for stratum in np.flatnonzero(sizes > controls):
        treated = order[ends[stratum] - sizes[stratum] + controls[stratum] : ends[stratum]]
        arms = np.flatnonzero(may[treated[0]])
        shares = np.cumsum(weights[arms]) / weights[arms].sum()
        shares[-1] = 1.0
        places = np.floor(starts[stratum] + len(treated) * shares).astype(np.int64)
        chosen[treated] = np.repeat(arms, np.diff(places, prepend=0))
    return chosen


def balance(members: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Return how alike the groups were before the campaign.

    In: ``members`` with customer_id, arm, control; ``covariates`` with customer_id and numbers. Out: one row per
    covariate and arm: covariate, arm, mean_arm, mean_control, difference in standard deviations of the control group
    (above 0.1 or below -0.1 is worth a look; Austin 2009, Statistics in Medicine 28, p. 3087).
    """
    table = members.merge(covariates, on="customer_id", how="left", validate="one_to_one")
    names = [name for name in covariates.columns if name != "customer_id"]
    control = table.loc[table["control"], names].astype(float)
    rows = []
    for arm, group in table[~table["control"]].groupby("arm", sort=True):
        # Who was left alone is compared with an arm within the strata that the arm reached.
        weight = group["stratum"].value_counts() if "stratum" in group else pd.Series(dtype=float)
        beside = control.assign(stratum=table.loc[control.index, "stratum"]) if len(weight) else control
        for name in names:
            mean = float(group[name].astype(float).mean())
            other = _weighted(beside, name, weight) if len(weight) else float(control[name].mean())
            spread = float(control[name].std(ddof=1))
            scaled = (mean - other) / spread if spread > 0 else 0.0
            rows.append((name, str(arm), mean, other, scaled))
    columns = ["covariate", "arm", "mean_arm", "mean_control", "difference"]
    return pd.DataFrame(rows, columns=columns)


def _weighted(control: pd.DataFrame, name: str, weight: pd.Series) -> float:
    """Return the control group's mean with its strata in the proportions of an arm's."""
    means = control.groupby("stratum")[name].mean()
    common = means.dropna().index.intersection(weight.index)
    if not len(common):
        return float(control[name].mean())
    return float(np.average(means[common], weights=weight[common]))
