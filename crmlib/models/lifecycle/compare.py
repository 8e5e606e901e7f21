"""Rules against hidden states: where they agree, and which tells more about the next quarter, on quarters not learnt from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models import metrics
from crmlib.models.lifecycle import hidden, phases
from crmlib.models.lifecycle.hidden import Encoded, HiddenModel
from crmlib.models.lifecycle.history import History
from crmlib.models.lifetime.inputs import Array

TARGETS = ("left", "active")
METHODS = ("everyone alike", "rules", "hidden states")
_Z = float(stats.norm.ppf(0.975))
_LEAST = 1e-6  # no chance is taken to be smaller


def names(model: HiddenModel, encoded: Encoded, history: History) -> tuple[str, ...]:
    """Return the phase that each hidden state is most like: the one found there most often compared with elsewhere.

    Only phases of at least a tenth of the state's customers count. Several states may bear one name; the last state, of
    ended relationships, is "lapsed".
    """
    table = np.zeros((model.states, len(phases.PHASES)))
    places = [encoded.days.index(day) for day in history.days]
    inside = model.filtered(encoded)[:, places, : model.states]
    for number in range(len(phases.PHASES)):
        table[:, number] = inside[(history.phase == number) & ~history.closed].sum(axis=0)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
    usual = table.sum(axis=0) / table.sum()
    lift = np.where((share >= 0.1) & (usual > 0), share / np.maximum(usual, 1e-12), -1.0)
    return (*[phases.PHASES[one] for one in lift.argmax(axis=1)], "lapsed")


def named(model: HiddenModel, encoded: Encoded, state_names: tuple[str, ...]) -> tuple[Array, Array]:
    """Return the likeliest phase of each customer and date (number in ``phases.PHASES``, -1 before he was known), and its
    chance; states of one name count together.
    """
    chance = model.filtered(encoded)
    number = np.array([phases.PHASES.index(name) for name in state_names])
    by_phase = np.stack([chance[:, :, number == one].sum(axis=2) for one in range(len(phases.PHASES))], axis=2)
    best = by_phase.argmax(axis=2)
    share = by_phase.max(axis=2)
    return np.where(encoded.present, best, -1).astype(np.int8), np.where(encoded.present, share, np.nan)


def agreement(rules: Array, states: Array) -> pd.DataFrame:
    """Return how customers of each phase by rules are spread over phases by hidden states: phase, hidden_phase, customers,
    share (of the phase).

    In: numbers of phases of the same customers, -1 for none.
    """
    known = (rules >= 0) & (states >= 0)
    size = len(phases.PHASES)
    table = np.bincount(rules[known].astype(np.int64) * size + states[known], minlength=size**2).reshape(size, size)
    row, column = np.nonzero(table)
    found = np.array(phases.PHASES, dtype=object)
    return pd.DataFrame(
        {
            "phase": found[row].astype(str),
            "hidden_phase": found[column].astype(str),
            "customers": table[row, column],
            "share": table[row, column] / table.sum(axis=1)[row],
        }
    )


def kappa(rules: Array, states: Array) -> float:
    """Return Cohen's kappa of two assignments of phases: 1 agreement, 0 no more than by chance.

    >>> kappa(np.array([1, 1, 2, 2]), np.array([1, 1, 2, 1]))
    0.5
    """
    known = (rules >= 0) & (states >= 0)
    one, other = rules[known], states[known]
    by_chance = sum(float((one == k).mean() * (other == k).mean()) for k in range(len(phases.PHASES)))
    return (float((one == other).mean()) - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0


def described(model: HiddenModel, encoded: Encoded, state_names: tuple[str, ...]) -> pd.DataFrame:
    """Return what the hidden states are like: state, hidden_phase, share (of customers at the last date), stay, leave (chances
    within a quarter), and by channel the share in each class.

    Out, a row a state and class: state, hidden_phase, share, stay, leave, measure, from_value (where the class begins; NaN
    for missing values), chance.
    """
    inside = model.filtered(encoded)[:, -1].mean(axis=0)
    rows = []
    for state in range(model.states):
        about = (state, state_names[state], inside[state], model.move[state, state], model.move[state, -1])
        for table, (measure, edges) in zip(model.emit, hidden.CHANNELS.items(), strict=True):
            begins = (-np.inf, *edges, np.nan)
            rows += [(*about, measure, begin, chance) for begin, chance in zip(begins, table[state], strict=True)]
    columns = ["state", "hidden_phase", "share", "stay", "leave", "measure", "from_value", "chance"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes: ``table`` a row a target and method: target ("left": the relationship ends within the quarter; "active": a
    transaction in it), method, customers, observed (share), log_loss, auc, gain (of log loss over everyone alike), low,
    high; ``differences`` hidden states against rules: target, gain (log loss of the rules less that of the hidden states),
    low, high (95%, customers drawn anew), better ("hidden states", "rules" or "" where the interval holds 0). The
    target "observations" is the whole of what was seen in the next quarter, by log-likelihood.
    """

    table: pd.DataFrame
    differences: pd.DataFrame


def compare(encoded: Encoded, history: History, *, learn_until: int, model: HiddenModel) -> Comparison:
    """Return which of both tells more about the next quarter, at the dates of the history from number ``learn_until`` on.

    In: a ``model`` fitted on no later dates; the rules' chances are counted on the moves up to date ``learn_until``. Both
    know of a customer what was known at the date, and are asked about the quarter that follows. Raises DataError where
    there is nothing to learn from or to test on.
    """
    if not 1 <= learn_until <= len(history.days) - 2:
        raise DataError(
            f"the comparison of life-cycle models: not enough data (found {len(history.days)} quarter ends, of which "
            f"{learn_until} moves to learn from, need 3 and one move to learn from and one to test on)"
        )
    offset = encoded.days.index(history.days[0])
    counted = _Counted(encoded, history, offset, learn_until)
    chance = model.filtered(encoded)
    scores: dict[str, list[Array]] = {target: [] for target in (*TARGETS, "observations")}
    customer, outcome = [], []
    for place in range(learn_until, len(history.days) - 1):
        known = (history.phase[:, place] >= 0) & ~history.closed[:, place]
        now, later = offset + place, offset + place + 1
        by_rules = counted.next_phase[history.phase[known, place]]
        by_states = chance[known, now] @ model.move
        left, active = encoded.ended[known, later], _active(encoded, later)[known]
        seen = encoded.codes[known, later]
        outcome.append(np.stack([left, active]))
        customer.append(np.flatnonzero(known))
        alike = np.broadcast_to(counted.overall, by_rules.shape)
        for target in TARGETS:
            scores[target].append(
                np.stack(
                    [
                        counted.chance(alike, target),
                        counted.chance(by_rules, target),
                        _by_states(model, by_states, target),
                    ]
                )
            )
        scores["observations"].append(
            np.stack(
                [
                    counted.likelihood(alike, seen, left),
                    counted.likelihood(by_rules, seen, left),
                    _seen(model, by_states, seen, left),
                ]
            )
        )
    return _scored(
        {target: np.concatenate(parts, axis=1) for target, parts in scores.items()},
        np.concatenate(outcome, axis=1),
        np.concatenate(customer),
    )


class _Counted:
    """What the rules' phases say of the next quarter, counted on the dates to learn from; the last phase is "ended"."""

    def __init__(self, encoded: Encoded, history: History, offset: int, until: int) -> None:
        size = len(phases.PHASES)
        moves, emit = np.full((size, size + 1), 0.0), []
        before, after = history.phase[:, :until], history.phase[:, 1 : until + 1]
        known = (before >= 0) & (after >= 0) & ~history.closed[:, :until]
        ended = history.closed[:, 1 : until + 1]
        going = np.where(ended, size, after)
        np.add.at(moves, (before[known], going[known]), 1.0)
        self.overall = (moves.sum(axis=0) + 0.5) / (moves.sum() + 0.5 * (size + 1))
        # A phase seldom seen leans on all customers.
        self.next_phase = (moves + 10 * self.overall) / (moves.sum(axis=1, keepdims=True) + 10)
        codes = encoded.codes[:, offset + 1 : offset + until + 1]
        live = known & ~ended
        for number, edges in enumerate(hidden.CHANNELS.values()):
            classes = len(edges) + 2
            count = np.full((size, classes), 0.5)
            np.add.at(count, (after[live], codes[:, :, number][live]), 1.0)
            emit.append(count / count.sum(axis=1, keepdims=True))
        self.emit = emit

    def chance(self, next_phase: Array, target: str) -> Array:
        """Return the chance of leaving, or of a transaction."""
        if target == "left":
            return next_phase[:, -1]
        return next_phase[:, :-1] @ (1 - self.emit[0][:, 0])

    def likelihood(self, next_phase: Array, seen: Array, left: Array) -> Array:
        """Return the log-likelihood of what was seen."""
        there = next_phase[:, :-1]
        for number, table in enumerate(self.emit):
            there = there * table.T[seen[:, number]]
        return np.log(np.maximum(np.where(left, next_phase[:, -1], there.sum(axis=1)), 1e-300))


def _by_states(model: HiddenModel, ahead: Array, target: str) -> Array:
    if target == "left":
        return ahead[:, -1]
    return ahead[:, :-1] @ (1 - model.emit[0][:, 0])


def _seen(model: HiddenModel, ahead: Array, seen: Array, left: Array) -> Array:
    there = ahead[:, :-1]
    for number, table in enumerate(model.emit):
        there = there * table.T[seen[:, number]]
    return np.log(np.maximum(np.where(left, ahead[:, -1], there.sum(axis=1)), 1e-300))


def _active(encoded: Encoded, column: int) -> Array:
    return (encoded.codes[:, column, 0] > 0) & ~encoded.ended[:, column]


def _scored(scores: dict[str, Array], outcome: Array, customer: Array) -> Comparison:
    rows, differences = [], []
    for target, given in scores.items():
        if target == "observations":
            loss, observed, auc = -given, float("nan"), [float("nan")] * 3
        else:
            happened = outcome[TARGETS.index(target)].astype(bool)
            chance = np.clip(given, _LEAST, 1 - _LEAST)
            loss = -np.where(happened, np.log(chance), np.log(1 - chance))
            observed = float(happened.mean())
            auc = [metrics.auc(happened, one).value for one in given]
        for number, method in enumerate(METHODS):
            gain, low, high = _mean(loss[0] - loss[number], customer)
            rows.append(
                (target, method, loss.shape[1], observed, float(loss[number].mean()), auc[number], gain, low, high)
            )
        gain, low, high = _mean(loss[1] - loss[2], customer)
        differences.append((target, gain, low, high, METHODS[2] if low > 0 else METHODS[1] if high < 0 else ""))
    columns = ["target", "method", "customers", "observed", "log_loss", "auc", "gain", "low", "high"]
    return Comparison(
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(differences, columns=["target", "gain", "low", "high", "better"]),
    )


def _mean(values: Array, customer: Array) -> tuple[float, float, float]:
    """Return the mean with its 95% interval; several values of a customer count as one draw."""
    mean = float(values.mean())
    own = np.bincount(customer, values - mean)
    error = float(np.sqrt((own**2).sum())) / len(values)
    return mean, mean - _Z * error, mean + _Z * error
