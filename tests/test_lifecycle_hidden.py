"""The hidden-state model against planted states and a naive likelihood, its comparison with the rules, and the job."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crmlib import paths, samples, warehouse
from crmlib.errors import DataError, UsageError
from crmlib.models.lifecycle import compare, hidden, history, phases
from crmlib.runs import lifecycle_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse.objections import profiling_objectors

NOW = dt.datetime(2026, 1, 1)
DAYS = tuple(pd.date_range("2020-03-31", periods=8, freq="QE"))
SIZES = [len(edges) + 2 for edges in hidden.CHANNELS.values()]


def planted(random: np.random.Generator, states: int = 3) -> hidden.HiddenModel:
    """A model whose states differ: each has two likely classes in each channel."""
    move = np.full((states + 1, states + 1), 0.06)
    move[np.arange(states), np.arange(states)] = 0.8
    move[:, states] = [0.01, 0.03, 0.08, 1.0][-(states + 1) :]
    move[states, :states] = 0
    emit = []
    for size in SIZES:
        table = np.full((states, size), 0.3 / size)
        for state in range(states):
            table[state, random.permutation(size)[:2]] += 0.35
        emit.append(table / table.sum(axis=1, keepdims=True))
    start = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])[:, :states]
    return hidden.HiddenModel(start / start.sum(1, keepdims=True), move / move.sum(1, keepdims=True), tuple(emit), ())


def draw(model: hidden.HiddenModel, size: int, random: np.random.Generator) -> tuple[hidden.Encoded, np.ndarray]:
    """Draw customers of a model, some of whom join later; also their true states, -1 before that."""
    dates, states = len(DAYS), model.states
    begin = np.where(random.random(size) < 0.3, random.integers(1, 5, size), 0)
    newcomer = begin > 0
    state = np.full((size, dates), -1)
    codes = np.zeros((size, dates, len(SIZES)), dtype=np.int8)
    for customer, column in itertools.product(range(size), range(dates)):
        if column < begin[customer]:
            continue
        if column == begin[customer]:
            state[customer, column] = random.choice(states, p=model.start[int(newcomer[customer])])
        else:
            state[customer, column] = random.choice(states + 1, p=model.move[state[customer, column - 1]])
        if state[customer, column] < states:
            for number, table in enumerate(model.emit):
                codes[customer, column, number] = random.choice(len(table[0]), p=table[state[customer, column]])
    ids = pd.Index([f"C{number:05}" for number in range(size)])
    return hidden.Encoded(ids, DAYS, codes, state >= 0, state == states, newcomer), state


@pytest.fixture(scope="module")
def truth() -> tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray]:
    random = np.random.default_rng(5)
    model = planted(random)
    return model, *draw(model, 1_500, random)


def naive(model: hidden.HiddenModel, encoded: hidden.Encoded, row: int) -> float:
    """The likelihood of one customer as a sum over all paths of states."""
    columns = np.flatnonzero(encoded.present[row])
    total = 0.0
    for path in itertools.product(range(model.states + 1), repeat=len(columns)):
        chance = 1.0
        for place, column in enumerate(columns):
            before = (
                np.append(model.start[int(encoded.newcomer[row])], 0.0) if place == 0 else model.move[path[place - 1]]
            )
            chance *= before[path[place]]
            if path[place] == model.states or encoded.ended[row, column]:
                chance *= float(path[place] == model.states and encoded.ended[row, column])
            else:
                for number, table in enumerate(model.emit):
                    chance *= table[path[place], encoded.codes[row, column, number]]
        total += chance
    return float(np.log(total))


def test_the_likelihood_is_the_sum_over_all_paths(truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray]) -> None:
    model, encoded, _ = truth
    late = [*np.flatnonzero(encoded.newcomer)[:6], *np.flatnonzero(encoded.ended[:, -1] & encoded.newcomer)[:2]]
    some = encoded.take(np.array([*late, 0]))
    found = hidden.log_likelihood(model, some)
    for row in range(len(late)):
        assert found[row] == pytest.approx(naive(model, some, row), abs=1e-9)


def test_planted_states_are_found_again_and_each_step_gains(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    model, encoded, state = truth
    found = hidden.fit(encoded, states=3)
    assert (np.diff(found.log_likelihood[:-1]) > -1e-3).all()
    assert hidden.log_likelihood(found, encoded).mean() >= hidden.log_likelihood(model, encoded).mean() - 0.02
    best = found.filtered(encoded)[:, -1].argmax(axis=1)
    alive = ~encoded.ended[:, -1]
    table = pd.crosstab(state[alive, -1], best[alive])
    assert table.max(axis=1).sum() / table.to_numpy().sum() > 0.9
    order = table.to_numpy().argmax(axis=1)
    assert found.move[order, -1] == pytest.approx(model.move[:3, -1], abs=0.025)
    assert found.emit[0][order] == pytest.approx(model.emit[0], abs=0.06)


def test_what_is_known_at_a_date_does_not_depend_on_later_ones(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    model, encoded, _ = truth
    everybody = np.arange(len(encoded.customer_id))
    until = model.filtered(encoded.take(everybody, until=5))
    whole = model.filtered(encoded)[:, :5]
    there = encoded.present[:, :5]
    assert until[there] == pytest.approx(whole[there])
    assert whole[there].sum(axis=1) == pytest.approx(np.ones(int(there.sum())))
    assert (whole[~there] == 0).all()


def test_who_comes_back_after_an_end_begins_anew(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    model, drawn, _ = truth
    row = np.flatnonzero(drawn.present.all(axis=1) & ~drawn.ended.any(axis=1))[:1]
    ended = drawn.ended.copy()
    ended[row, 3] = True
    back = hidden.Encoded(drawn.customer_id, DAYS, drawn.codes, drawn.present, ended, drawn.newcomer)
    chance = model.filtered(back)[row[0]]
    assert chance.sum(axis=1) == pytest.approx(np.ones(len(DAYS))) and chance[3, -1] == 1 and chance[4, -1] == 0
    # Before the end all is as it was, and the two lives are worth the product of both.
    assert chance[:3] == pytest.approx(model.filtered(drawn)[row[0], :3])
    first = hidden.log_likelihood(model, back.take(row, until=4))
    later = (drawn.codes[row, 4:], drawn.present[row, 4:], ended[row, 4:], drawn.newcomer[row])
    second = hidden.Encoded(drawn.customer_id[row], DAYS[4:], *later)
    whole = hidden.log_likelihood(model, back.take(row))
    assert whole == pytest.approx(first + hidden.log_likelihood(model, second))
    fitted = hidden.fit(back, states=3)
    assert (np.diff(fitted.log_likelihood) > -1e-6).all()


def as_history(state: np.ndarray, encoded: hidden.Encoded, names: tuple[str, ...]) -> history.History:
    number = np.array([phases.PHASES.index(name) for name in (*names, "lapsed")])
    phase = np.where(state >= 0, number[state], -1).astype(np.int8)
    return history.History(encoded.customer_id, DAYS, phase, encoded.ended)


def test_states_get_the_names_of_the_phases_they_are_like(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    model, encoded, state = truth
    past = as_history(state, encoded, ("mature", "fading", "won_back"))
    assert compare.names(model, encoded, past) == ("mature", "fading", "won_back", "lapsed")
    best, share = compare.named(model, encoded, ("mature", "fading", "won_back", "lapsed"))
    assert (best[~encoded.present] == -1).all() and (share[encoded.present] <= 1 + 1e-9).all()
    assert compare.kappa(past.phase, best) > 0.85
    table = compare.agreement(past.phase, best)
    assert table["customers"].sum() == encoded.present.sum()
    assert table.groupby("phase")["share"].sum().tolist() == pytest.approx([1.0] * 4)


def test_hidden_states_win_where_phases_are_noise_and_do_not_where_phases_are_the_truth(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    model, encoded, state = truth
    known = as_history(state, encoded, ("mature", "fading", "won_back"))
    found = compare.compare(encoded, known, learn_until=4, model=model).differences.set_index("target")
    # Whoever sees the states themselves cannot be beaten by guessing them.
    assert (found["better"] != "hidden states").all() and found.loc["observations", "better"] == "rules"
    random = np.random.default_rng(6)
    noise = np.where(encoded.present & ~encoded.ended, random.integers(0, 3, state.shape), state)
    wrong = as_history(noise, encoded, ("mature", "fading", "won_back"))
    told = compare.compare(encoded, wrong, learn_until=4, model=model)
    found = told.differences.set_index("target")
    assert found.loc["observations", "better"] == found.loc["active", "better"] == "hidden states"
    rows = told.table.set_index(["target", "method"])
    assert rows.loc[("left", "hidden states"), "auc"] > rows.loc[("left", "rules"), "auc"] + 0.05
    assert rows.loc[("left", "everyone alike"), "auc"] == 0.5
    with pytest.raises(DataError, match=r"not enough data \(found 8 quarter ends, of which 7 moves to learn from"):
        compare.compare(encoded, known, learn_until=7, model=model)


def test_too_few_customers_or_states_get_a_clear_sentence(
    truth: tuple[hidden.HiddenModel, hidden.Encoded, np.ndarray],
) -> None:
    _, encoded, _ = truth
    with pytest.raises(DataError, match=r"not enough data \(found 50 customers at 8 quarter ends, need 200 at 2\)"):
        hidden.fit(encoded.take(np.flatnonzero(~encoded.ended[:, -1])[:50]))
    with pytest.raises(UsageError, match="hidden states: 1; give 2 to 12"):
        hidden.fit(encoded, states=1)


# ---------------------------------------------------------------- the job


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample bank of 1,500 customers, loaded."""
    folder = tmp_path_factory.mktemp("lifecycle_job")
    made = samples.bank(customers=1_500, seed=11, folder=folder / "files")
    warehouse.load(made.files, made.mapping, data=folder, recorded_at=NOW, now=NOW)
    return folder


def test_the_job_saves_a_phase_for_everybody_and_the_tables_beside(data: Path) -> None:
    done = lifecycle_jobs.lifecycle(data, stages=Stages(quiet=True))
    found = score_sets.newest(data, lifecycle_jobs.NAME)
    table = score_sets.read(data, found)
    wh = warehouse.open(paths.warehouse(data))
    known = wh.snapshot(found.as_of).table("customers")
    objected = profiling_objectors(wh.snapshot(found.as_of).table("consents"))
    assert len(objected) > 10 and table["customer_id"].is_unique
    assert set(table["customer_id"]) == set(known["customer_id"]) - set(objected)
    known = known[~known["customer_id"].isin(objected)]
    wanted = ["customer_id", "as_of", "phase", "since", "hidden_phase", "next_phase", "days_to_next"]
    assert not set(wanted) - set(table) and table[["phase", "since", "hidden_phase"]].notna().all().all()
    assert (table["since"] <= table["as_of"]).all()
    closed = table["code"] == "closed"
    assert closed.sum() == known["closed_on"].notna().sum() > 20
    assert (table.loc[closed, "hidden_phase"] == "lapsed").all() and table.loc[closed, "days_to_next"].isna().all()
    new = table[table["phase"] == "new"].merge(known, on="customer_id", validate="one_to_one")
    assert (new["since"].dt.normalize() == pd.to_datetime(new["customer_since"])).all()
    some = table["days_to_next"].notna()
    assert some.mean() > 0.5 and (table.loc[some, "days_to_next"] > 0).all()
    past = score_sets.beside(data, found, "history")
    assert set(past["customer_id"]) == set(table["customer_id"])
    last = past[past["as_of"] == past["as_of"].max()].set_index("customer_id")
    assert (last["phase"].astype(str).reindex(table["customer_id"]).to_numpy() == table["phase"].to_numpy()).all()
    moves = score_sets.beside(data, found, "moves")
    assert {"phase", "next_phase", "customers", "share"} <= set(moves)
    for name in ("times", "agreement", "states", "comparison", "differences", "rules"):
        assert len(score_sets.beside(data, found, name)) == len(done.beside[name]) > 0


def test_the_job_takes_the_rules_of_the_company(data: Path) -> None:
    path = data / lifecycle_jobs.RULES_FILE
    path.write_text('[[rules]]\nphase = "mature"\ncode = "all_alike"\nconditions = []\n', encoding="utf-8")
    try:
        done = lifecycle_jobs.lifecycle(data, stages=Stages(quiet=True))
        assert set(done.customers["code"]) == {"all_alike"} and done.customers["days_to_next"].isna().all()
    finally:
        path.unlink()


def test_a_day_too_early_gets_a_clear_sentence(data: Path) -> None:
    with pytest.raises(DataError, match=r"not enough data \(found transactions from 2024-01-01, need 12 months"):
        lifecycle_jobs.lifecycle(data, stages=Stages(quiet=True), as_of="2024-09-30")
