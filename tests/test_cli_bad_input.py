"""What bad input gets: one clear sentence with a remedy, an exit code, and nothing lost or half written."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from crmlib import cli, paths, samples, warehouse
from crmlib.models import registry
from crmlib.runs import jobs, servers
from crmlib.store import ledger

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "two_files"
FILES = ["customers.csv", "purchases.csv", "products.csv"]

Crm = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the example loaded, a model and scores; copied by the tests that change it."""
    data = tmp_path_factory.mktemp("made") / "data"
    assert cli.main(["load", *map(str, _files(EXAMPLE)), *_with(EXAMPLE), "--data", str(data)]) == 0
    assert cli.main(["train", "--data", str(data)]) == 0
    assert cli.main(["score", "--data", str(data)]) == 0
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example's files, to be spoilt."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example"))


@pytest.fixture
def crm(capsys: pytest.CaptureFixture[str]) -> Crm:
    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return code, said

    return run


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in FILES]


def _with(folder: Path) -> list[str]:
    return ["--mapping", str(folder / "mapping.toml"), "--company", str(folder / "company.toml")]


def _state(data: Path) -> dict[str, bytes]:
    """All that must not change when a command is refused: warehouse, models, scores, lists."""
    kept = ("warehouse", "models", "scores", "lists")
    found = [path for name in kept for path in (data / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.read_bytes() for path in found}


def _spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="cp1250")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="cp1250")


# ---------------------------------------------------------------- load


def test_a_missing_source(crm: Crm, tmp_path: Path) -> None:
    code, said = crm("load", tmp_path / "absent.csv", *_with(EXAMPLE), "--data", tmp_path / "data")
    assert code == 4
    assert "absent.csv" in said


def test_an_empty_source(crm: Crm, example: Path, data: Path) -> None:
    (example / "purchases.csv").write_bytes(b"")
    before = _state(data)
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    assert code == 3
    assert "purchases.csv" in said and "empty" in said
    assert _state(data) == before


def test_a_wrong_delimiter(crm: Crm, example: Path, data: Path) -> None:
    _spoil(example / "mapping.toml", 'delimiter = ";"', 'delimiter = "|"')
    before = _state(data)
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    assert code == 3
    assert "delimiter" in said
    assert _state(data) == before


def test_a_mapping_that_names_an_absent_column(crm: Crm, example: Path, data: Path) -> None:
    _spoil(example / "mapping.toml", 'birth_date = "born"', 'birth_date = "birthday"')
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    assert code == 3
    assert "birthday" in said and "customers.csv" in said


def test_a_mapping_that_is_missing_or_no_toml(crm: Crm, example: Path, data: Path) -> None:
    code, said = crm("load", *_files(example), "--mapping", example / "absent.toml", "--data", data)
    assert (code, "absent.toml" in said) == (4, True)
    (example / "mapping.toml").write_text("not [ toml")
    code, said = crm("load", *_files(example), "--mapping", example / "mapping.toml", "--data", data)
    assert (code, "mapping.toml" in said) == (3, True)


def test_too_many_impossible_dates(crm: Crm, example: Path, data: Path) -> None:
    lines = (example / "purchases.csv").read_text(encoding="cp1250").splitlines()
    place = lines[0].split(";").index("bought_on")
    for number in range(1, 60):
        fields = lines[number].split(";")
        fields[place] = "31.02.2025"
        lines[number] = ";".join(fields)
    (example / "purchases.csv").write_text("\n".join(lines), encoding="cp1250")
    before = _state(data)
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    assert code == 3
    assert "quarantine" in said and "59" in said
    assert _state(data) == before
    assert list((data / "quarantine").glob("load-*.parquet"))


def test_a_broken_company_file(crm: Crm, example: Path, data: Path) -> None:
    (example / "company.toml").write_text("curency = 'EUR'")
    before = (data / "company.toml").read_bytes()
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    assert code == 3
    assert "unknown setting curency" in said
    assert (data / "company.toml").read_bytes() == before


def test_own_files_never_join_the_made_up_bank(crm: Crm, data: Path) -> None:
    jobs.demo_mark(data).write_text("{}")
    code, said = crm("load", *_files(EXAMPLE), *_with(EXAMPLE), "--data", data)
    assert code == 2
    assert "--data mine" in said


def test_the_demo_refuses_a_folder_with_own_data(crm: Crm, data: Path) -> None:
    before = _state(data)
    code, said = crm("demo", "--no-serve", "--customers", 5000, "--data", data)
    assert code == 2
    assert "holds data of your own" in said
    assert _state(data) == before


def test_no_space_left(crm: Crm, example: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(example / "products.csv", "Home insurance", "House insurance")  # so that a version must be written
    before = _state(data)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, said = crm("load", *_files(example), *_with(example), "--data", data)
    monkeypatch.undo()
    assert code == 6
    assert "space" in said
    assert _state(data) == before
    assert warehouse.open(paths.warehouse(data)).version == 1


def test_a_folder_it_may_not_write(crm: Crm, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.geteuid() == 0:
        closed = Path("/sys")  # where not even root may make a folder
    code, said = crm("load", *_files(EXAMPLE), *_with(EXAMPLE), "--data", closed / "data")
    assert code == 6
    assert "--data" in said


def test_a_file_in_the_place_of_the_data_folder(crm: Crm, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    code, said = crm("load", *_files(EXAMPLE), *_with(EXAMPLE), "--data", tmp_path / "data")
    assert code == 6
    assert str(tmp_path / "data") in said


# ---------------------------------------------------------------- versions, check


def test_commands_without_a_warehouse(crm: Crm, tmp_path: Path) -> None:
    for command in ("check", "train"):
        code, said = crm(command, "--data", tmp_path / "nothing")
        assert code == 4, command
        assert "crm load" in said
    assert not (tmp_path / "nothing").exists()


def test_dates_outside_the_records(crm: Crm, data: Path) -> None:
    for command, day in (("check", "1999-01-01"), ("check", "2099-01-01"), ("score", "2099-01-01")):
        code, said = crm(command, "--as-of", day, "--data", data)
        assert code == 3
        assert f"as_of {day} is outside the records" in said
    code, said = crm("check", "--as-of", "31.02.2025", "--data", data)
    assert (code, "not a date" in said) == (3, True)
    code, said = crm("train", "--as-of", "2025-12-20", "--data", data)
    assert (code, "is not known yet" in said) == (3, True)
    code, said = crm("train", "--as-of", "2023-07-31", "--data", data)
    assert (code, "load a longer history" in said) == (3, True)


def test_a_half_written_version(crm: Crm, data: Path) -> None:
    file = next((data / "warehouse").glob("v*.duckdb"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    code, said = crm("check", "--data", data)
    assert code == 6
    assert file.name in said
    code, said = crm("doctor", "--data", data)
    assert code == 6


def test_a_work_file_of_a_killed_load_harms_nobody(crm: Crm, data: Path) -> None:
    orphan = data / "warehouse" / "v000002.duckdb.building-999999"
    orphan.write_bytes(b"half")
    assert crm("check", "--data", data)[0] == 0
    assert crm("versions", "prune", "--data", data)[0] == 0
    assert not orphan.exists()


# ---------------------------------------------------------------- train, score


def _company_with(tmp_path: Path, crm: Crm, customers: list[str], purchases: list[str]) -> Path:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "few"))
    for name, rows in (("customers.csv", customers), ("purchases.csv", purchases)):
        head = (EXAMPLE / name).read_text(encoding="cp1250").splitlines()[0]
        (folder / name).write_text("\n".join([head, *rows]) + "\n", encoding="cp1250")
    data = tmp_path / "few-data"
    assert crm("load", *_files(folder), *_with(folder), "--data", data) == (0, "")
    return data


def _rows(name: str) -> list[str]:
    return (EXAMPLE / name).read_text(encoding="cp1250").splitlines()[1:]


def test_one_customer(crm: Crm, tmp_path: Path) -> None:
    buyers = [row.split(";")[1] for row in _rows("purchases.csv")]
    customer = next(line for line in _rows("customers.csv") if buyers.count(line.split(";")[0]) >= 2)
    own = [row for row in _rows("purchases.csv") if row.split(";")[1] == customer.split(";")[0]]
    data = _company_with(tmp_path, crm, [customer], own)
    code, said = crm("train", "--data", data)
    assert code == 3
    assert said.count("\n") == 1
    assert crm("check", "--data", data)[0] == 0


def test_nobody_bought_anything_in_the_period(crm: Crm, tmp_path: Path) -> None:
    purchases = _rows("purchases.csv")
    place = (EXAMPLE / "purchases.csv").read_text(encoding="cp1250").splitlines()[0].split(";").index("bought_on")
    early = [row for row in purchases if row.split(";")[place].endswith("2024")]
    late = [row for row in purchases if row.split(";")[place].endswith("12.2025")][-1:]
    data = _company_with(tmp_path, crm, _rows("customers.csv"), early + late)
    code, said = crm("train", "--data", data)
    assert code == 3
    assert "nobody who could buy any product did so" in said
    assert not (data / "models").exists()


def test_scoring_without_a_model(crm: Crm, data: Path) -> None:
    shutil.rmtree(data / "models")
    code, said = crm("score", "--data", data)
    assert code == 6
    code, said = crm("score", "--model-version", 99, "--data", data)
    assert (code, "99" in said) == (4, True)


def test_a_corrupted_model_file(crm: Crm, data: Path) -> None:
    file = next((data / "models").rglob("booster.ubj"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    scores = sorted((data / "scores").rglob("*.parquet"))
    code, said = crm("score", "--data", data)
    assert code == 6
    assert "crm train" in said
    assert sorted((data / "scores").rglob("*.parquet")) == scores
    assert list(ledger.runs(data)["state"]).count("succeeded") == 2


# ---------------------------------------------------------------- run, servers, usage


def test_a_notebook_that_is_missing_or_a_parameter_that_is_wrong(crm: Crm, data: Path) -> None:
    notebook = Path(__file__).parents[1] / "notebooks" / "01_data_quality.ipynb"
    code, said = crm("run", "absent.ipynb", "--data", data)
    assert (code, "no such notebook" in said) == (4, True)
    code, said = crm("run", notebook, "-p", "as_off=2025-01-01", "--data", data)
    assert (code, "did you mean as_of" in said) == (2, True)
    assert not (data / "runs").exists()
    code, said = crm("run", notebook, "-p", "as_of=2099-01-01", "--data", data)
    assert code == 5
    assert "outside the records" in said


def test_a_busy_port(crm: Crm, data: Path) -> None:
    with socket.socket() as taken:
        taken.bind((servers.HOST, 0))
        taken.listen()
        for command in (["dashboards"], ["lab", "--no-browser"]):
            code, said = crm(*command, "--port", taken.getsockname()[1], "--data", data)
            assert code == 6
            assert "is busy" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["load"],
        ["load", "x.csv", "--mapping", "m.toml", "--max-bad-share", "2"],
        ["demo", "--customers", "0"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "crm" in capsys.readouterr().err


def test_the_unexpected_is_one_sentence_unless_debugged(crm: Crm, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(jobs, "check", wrong)
    code, said = crm("check", "--data", data)
    assert code == 1
    assert "unexpected ZeroDivisionError: division by zero" in said
    assert "ZeroDivisionError" in (data / "logs" / "crm.log").read_text()
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "--debug", "--data", str(data)])


def test_a_port_that_is_none(crm: Crm, data: Path) -> None:
    for port in ("70000", "-1", "x"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["dashboards", "--port", port, "--data", str(data)])
        assert stopped.value.code == 2


def test_zero_transactions_and_purchases(crm: Crm, tmp_path: Path) -> None:
    data = tmp_path / "few-data"
    sources = [EXAMPLE / "customers.csv", EXAMPLE / "products.csv"]
    assert crm("load", *sources, *_with(EXAMPLE), "--data", data) == (0, "")
    for command in ("check", "train"):
        code, said = crm(command, "--data", data)
        assert code == 3, command
        assert "holds no events" in said


def test_a_withdrawn_product_stops_neither_training_nor_scoring(crm: Crm, data: Path, example: Path) -> None:
    products = (example / "products.csv").read_text(encoding="cp1250").splitlines()
    dated = [products[0] + ";until", *[line + ";" for line in products[1:]]]
    dated = [line + "15.11.2025" if line.startswith("CAR;") else line for line in dated]
    (example / "products.csv").write_text("\n".join(dated) + "\n", encoding="cp1250")
    mapping = example / "mapping.toml"
    text = mapping.read_text(encoding="utf-8")
    mapping.write_text(text.replace('name = "name"', 'name = "name"\nwithdrawn_on = "until"'), encoding="utf-8")
    at = ["--recorded-at", "2025-11-15"]
    assert crm("load", example / "products.csv", *_with(example), *at, "--data", data) == (0, "")
    assert crm("score", "--data", data) == (0, "")
    assert "CAR" not in set(registry.load_scores(data)["product_id"].astype(str))
    assert crm("train", "--data", data) == (0, "")


def test_an_announced_campaign_is_not_the_last_record(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "campaigns.csv"
    file.write_text("id,name,start,known\nc1,Spring,2026-06-15,2025-12-01\n")
    columns = {"campaign_id": "id", "name": "name", "starts_on": "start"}
    mapping = {
        "tables": {"campaigns": {"files": ["campaigns.csv"], "recorded_at": {"column": "known"}, "columns": columns}}
    }
    warehouse.load([file], mapping, data=data, recorded_at=dt.datetime(2026, 1, 1))
    period = warehouse.open(paths.warehouse(data)).period
    assert period is not None and period[1] == dt.date(2025, 12, 28)


def test_a_sample_of_ones_own_does_not_make_a_folder_the_demos(crm: Crm, data: Path) -> None:
    samples.bank(customers=50, months=6, folder=jobs.sample_folder(data))
    before = _state(data)
    code, said = crm("demo", "--no-serve", "--customers", 5000, "--data", data)
    assert code == 2
    assert "holds data of your own" in said
    assert _state(data) == before


def test_a_password_never_reaches_the_log(crm: Crm, data: Path) -> None:
    for url in (
        "postgresql+psycopg://bob:s3cr3t@127.0.0.1:1/x",
        "postgresql+psycopg://bob:a&s3cr3t@127.0.0.1:1/x",
        "sqlite:////nowhere/x.db?password=s3cr3t",
        "sqlite:////nowhere/x.db?password=a@s3cr3t&mode=ro",
    ):
        assert crm("load", url, *_with(EXAMPLE), "--data", data)[0] != 0
    log = (data / "logs" / "crm.log").read_text(encoding="utf-8")
    assert "bob:***@" in log
    assert "s3cr3t" not in log
