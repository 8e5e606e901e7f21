"""Uplift by product and channel: what a call, a letter or an e-mail adds to each customer's probability of buying.

Learnt from the members of past campaigns, in which arms and control groups were drawn at random. On top of the propensity
score b, known before the draw, the log-odds of a purchase are

    a + s logit(b) + own'z + product + contact (e + shared'z + product + channel + channel'z)

where z is how the customer was contacted, answered and banks, and age. Each group of coefficients is shrunk towards zero
by a ridge whose strength is chosen on customers left out of the fit: where no difference between customers, products or
channels is found, all get the average effect. The uplift is the difference of the two probabilities; its interval is that
of the effect on the log-odds (Laplace approximation), given the probability without contact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from crmlib.errors import DataError, UsageError
from crmlib.models import encode, pairs
from crmlib.models.uplift import NAME

ABOUT = (
    *("customer_age", "contacts_out", "contacts_count_outcome", "campaign_members"),
    *("transactions_count_share_channel", "customer_preferred_channel"),
)
"""Beginnings of the names of the features that say how a customer takes a contact."""

OUT = ["customer_id", "as_of", "model", "product_id", "channel", "score", "low", "high"]

_PENALTIES = (640.0, 160.0, 40.0, 10.0)  # from strong to weak: each starts where the last one ended
_HELD_OUT = 0.3
_STEPS = 12
_Z = 1.959963984540054  # normal quantile of 0.975


@dataclass
class ChannelUplift:
    """What contacts add; see the module. Attributes: ``seed`` of the customers left out to choose the ridge.

    Fitted: ``products_``, ``channels_``, ``coefficients_`` (see ``_design``), ``penalty_``, ``covariance_``.
    """

    seed: int = 7
    products_: list[str] = field(default_factory=list, init=False)
    channels_: list[str] = field(default_factory=list, init=False)

    def fit(self, members: pd.DataFrame, features: pd.DataFrame, *, base: np.ndarray) -> ChannelUplift:
        """Learn from members of campaigns.

        In: ``members`` with the columns of ``uplift_campaigns.COLUMNS``; ``features`` of their customers and dates;
        ``base`` each member's propensity score as of that date (nan where there is none: then the member teaches nothing).
        Raises DataError where no feature or no channel is left.
        """
        row = pairs.rows_of(members, features)
        used = (row >= 0) & ~np.isnan(base)
        members, row, base = members[used], row[used], base[used]
        names = [name for name in features if str(name).startswith(ABOUT)]
        self.channels_ = sorted(set(members["channel"]) - {""})
        if not names or not self.channels_:
            raise DataError("there is no contact, or no feature about contacts, to learn the effect of contacts from")
        self.products_ = sorted(str(name) for name in members["product_id"].unique())
        self.encoding_ = encode.fit(features[names])
        z = self._about(features)[row]
        x = self._design(z, logit(np.clip(base, 1e-6, 1 - 1e-6)), members["product_id"], members["channel"])
        y = members["bought"].to_numpy(dtype=float)
        left_out = np.random.default_rng(self.seed).random(len(features))[row] < _HELD_OUT
        weak = self._weak()
        losses, found = [], np.zeros(x.shape[1])
        found[1] = 1.0
        for penalty in _PENALTIES:
            found, _ = _ridge(x[~left_out], y[~left_out], penalty * weak, start=found)
            margin = x[left_out] @ found
            losses.append(float(np.mean(np.logaddexp(0, margin) - y[left_out] * margin)))
        self.penalty_ = _PENALTIES[int(np.argmin(losses))]
        self.coefficients_, hessian = _ridge(x, y, self.penalty_ * weak, start=found)
        self.covariance_ = np.linalg.inv(hessian)
        return self

    def score(self, features: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
        """Return the uplift of each pair of customer and product by channel.

        In: ``features`` as of the day, ``scores`` of the propensity model (customer_id, as_of, product_id, score) for it.
        Out: customer_id, as_of, model, product_id, channel (categories), score (added probability of buying), low, high
        (float32): 95% interval. Pairs of products in no campaign get what is common to all products.
        """
        if not self.channels_:
            raise UsageError("the uplift model is not fitted; call fit first")
        row = pairs.rows_of(scores, features)
        if (row < 0).any():
            raise DataError(
                f"{int((row < 0).sum())} scores have no features; build them for the same customers and date"
            )
        z = self._about(features)
        chance = np.clip(scores["score"].to_numpy(dtype=float), 1e-6, 1 - 1e-6)
        product = pairs.codes(scores["product_id"], self.products_)
        quiet = self._quiet(z, logit(chance), row, product)
        parts = []
        for channel in self.channels_:
            effect, error = self._effect(z, channel, row, product)
            added = [(expit(quiet + effect + k * _Z * error) - expit(quiet)).astype(np.float32) for k in (0, -1, 1)]
            kept = scores[["customer_id", "as_of", "product_id"]]
            parts.append(
                kept.assign(
                    model=pairs.constant(NAME, len(kept)),
                    channel=_category(channel, self.channels_, len(kept)),
                    **dict(zip(("score", "low", "high"), added, strict=True)),
                )
            )
        return pd.concat(parts, ignore_index=True)[OUT]

    # Columns of the design: 1, logit, z, products | contact: 1, z, products | channels: each 1, z.

    def _blocks(self) -> tuple[int, slice]:
        """Return the number of z, and the slice of what any contact adds."""
        z, goods = len(self.encoding_.sources), len(self.products_)
        return z, slice(2 + z + goods, 3 + 2 * z + 2 * goods)

    def _weak(self) -> np.ndarray:
        """Return which coefficients are shrunk: all but the constant, the slope and the average effect of a contact."""
        z, contact = self._blocks()
        out = np.ones(contact.stop + len(self.channels_) * (1 + z))
        out[[0, 1, contact.start]] = 1e-6
        return out

    def _about(self, features: pd.DataFrame) -> np.ndarray:
        return self.encoding_.linear_matrix(self.encoding_.tree_matrix(features))

    def _design(self, z: np.ndarray, base: np.ndarray, product: pd.Series, channel: pd.Series) -> np.ndarray:
        count = len(z)
        goods = np.eye(len(self.products_), dtype=np.float32)[pairs.codes(product, self.products_)]
        one = np.ones((count, 1), dtype=np.float32)
        drawn = channel.to_numpy()
        touched = (drawn != "").astype(np.float32)[:, None]
        parts = [one, base[:, None].astype(np.float32), z, goods, touched, touched * z, touched * goods]
        for name in self.channels_:
            own = (drawn == name).astype(np.float32)[:, None]
            parts += [own, own * z]
        return np.concatenate(parts, axis=1)

    def _quiet(self, z: np.ndarray, base: np.ndarray, row: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Return the log-odds without contact."""
        size, contact = self._blocks()
        found = self.coefficients_
        own = np.append(found[2 + size : contact.start], 0.0)
        return found[0] + found[1] * base + (z @ found[2 : 2 + size])[row] + own[product]

    def _effect(
        self, z: np.ndarray, channel: str, row: np.ndarray, product: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what a contact adds to the log-odds and its standard error."""
        size, contact = self._blocks()
        shared = np.arange(contact.start, contact.start + 1 + size)
        of_goods = np.arange(contact.start + 1 + size, contact.stop)
        own = contact.stop + self.channels_.index(channel) * (1 + size) + np.arange(1 + size)
        with_one = np.column_stack([np.ones(len(z)), z])
        c = self.covariance_
        both = c[np.ix_(shared, shared)] + c[np.ix_(own, own)] + c[np.ix_(shared, own)] + c[np.ix_(own, shared)]
        cross = c[np.ix_(shared, of_goods)] + c[np.ix_(own, of_goods)]
        value = with_one @ (self.coefficients_[shared] + self.coefficients_[own])
        variance = np.einsum("ij,jk,ik->i", with_one, both, with_one, optimize=True)
        crossed = np.column_stack([2 * with_one @ cross, np.zeros(len(z))])
        alone = np.append(np.diag(c)[of_goods], 0.0)
        effect = value[row] + np.append(self.coefficients_[of_goods], 0.0)[product]
        spread = variance[row] + crossed[row, product] + alone[product]
        return effect, np.sqrt(np.maximum(spread, 0.0))


def _category(value: str, values: list[str], rows: int) -> pd.Series:
    codes = np.full(rows, values.index(value), dtype=np.int8)
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(values, dtype="str")))


def _ridge(x: np.ndarray, y: np.ndarray, penalty: np.ndarray, *, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients of a ridge-penalised logistic regression, and the curvature there, by Newton's method."""
    found = start
    for _ in range(_STEPS):
        chance = expit(x @ found)
        root = np.sqrt(chance * (1 - chance)).astype(np.float32)
        scaled = x * root[:, None]
        hessian = (scaled.T @ scaled).astype(np.float64) + np.diag(penalty)
        step = np.linalg.solve(hessian, x.T @ (y - chance) - penalty * found)
        found = found + step
        if np.abs(step).max() < 1e-4:
            break
    return found, hessian
