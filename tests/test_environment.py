"""environment.yml, the locks and the pre-commit hooks say the same as pyproject.toml and the Makefile."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {  # PyPI name: conda-forge name, where they differ
    "duckdb": "python-duckdb",
    "playwright": "playwright-python",
}
FROM_PYPI = {
    "axe-playwright-python",
    "duckdb-sqlalchemy",
    "xgboost-cpu",
    "xgboost",
}  # see the comments in environment.yml
LOCKS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dask", "dev", "postgres", "spark"]}


def requirements(extras: list[str]) -> list[Requirement]:
    """Return the project's requirements with those of the extras; the project itself, named by an extra, is left out."""
    given = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    return [found for found in map(Requirement, given) if found.name != PROJECT["name"]]


def conda_sections() -> tuple[list[str], list[str]]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    return [one for one in listed if isinstance(one, str)], next(one for one in listed if isinstance(one, dict))["pip"]


def parse_conda(listed: list[str]) -> dict[str, str]:
    return {name: spec for name, _, spec in (one.partition(" ") for one in listed)}


def sorted_spec(requirement: Requirement) -> list[str]:
    return sorted(str(one) for one in requirement.specifier)


def test_every_requirement_is_in_the_conda_environment_with_the_same_bounds() -> None:
    conda, _ = conda_sections()
    found = parse_conda(conda)
    wanted = [one for one in requirements(list(PROJECT["optional-dependencies"])) if one.name not in FROM_PYPI]
    for one in wanted:
        name = CONDA_NAMES.get(one.name, one.name)
        assert name in found, f"{one.name} is missing from environment.yml (as {name})"
        assert sorted(filter(None, found[name].split(","))) == sorted_spec(one), name
    extra = set(found) - {CONDA_NAMES.get(one.name, one.name) for one in wanted}
    assert extra == {"python", "pip", "cryptography"}  # the last is what the extra of pyjwt asks for
    assert found["python"] == PROJECT["requires-python"]


def test_the_pip_section_holds_what_conda_lacks_and_the_project() -> None:
    _, pip = conda_sections()
    assert pip.count("-e .") == 1
    found = {one.name: one for one in map(Requirement, (line for line in pip if line != "-e ."))}
    wanted = {one.name: one for one in requirements(["dev"]) if one.name in FROM_PYPI}
    assert set(found) == set(wanted) == FROM_PYPI
    for name, one in wanted.items():
        assert (sorted_spec(found[name]), str(found[name].marker)) == (sorted_spec(one), str(one.marker))


def test_channels_are_conda_forge_alone() -> None:
    given = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert given["channels"] == ["conda-forge", "nodefaults"]
    assert given["name"] == PROJECT["name"]


def parse_lock(name: str) -> list[tuple[str, Version, Marker | None, int]]:
    """Return canonical name, version, marker and number of hashes of each locked package; any other line fails."""
    lines = [
        line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    found = []
    for line in filter(None, re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)(?: ; (.+?))?((?: *--hash=sha256:[0-9a-f]{64})*)", line.strip())
        assert match, f"not name==version with hashes: {line[:100]}"
        marker = Marker(match[3]) if match[3] else None
        found.append((canonicalize_name(match[1]), Version(match[2]), marker, match[4].count("--hash")))
    return found


def installed(lock: str, **machine: str) -> dict[str, Version]:
    """Return the version by name that the lock installs on a machine (sys_platform, python_full_version …)."""
    chosen = [
        (name, version) for name, version, marker, _ in parse_lock(lock) if not marker or marker.evaluate(machine)
    ]
    assert len(chosen) == len(dict(chosen)), "two versions of one package on one machine"
    return dict(chosen)


MACHINES = [
    {"sys_platform": system, "platform_system": name, "python_version": short, "python_full_version": f"{short}.4"}
    for system, name in (("linux", "Linux"), ("win32", "Windows"), ("darwin", "Darwin"))
    for short in ("3.11", "3.12", "3.13")
]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_satisfies_the_bounds_on_every_machine(lock: str) -> None:
    for machine in MACHINES:
        locked = installed(lock, **machine)
        for one in requirements(LOCKS[lock]):
            if one.marker and not one.marker.evaluate(machine):
                continue
            assert canonicalize_name(one.name) in locked, f"{one.name} is not locked for {machine}; run make lock"
            version = locked[canonicalize_name(one.name)]
            assert version in one.specifier, f"{one.name} {version} is locked, pyproject.toml wants {one.specifier}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    locked = parse_lock(lock)
    assert len(locked) > 100
    assert [name for name, _, _, hashes in locked if hashes == 0] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8").lower()
    assert re.findall(r"://|\bhttps?\b|index-url|find-links|trusted-host|pypi\.|files\.pythonhosted| @ ", text) == []


def test_the_locks_agree() -> None:
    for machine in MACHINES:
        run, dev = (installed(lock, **machine) for lock in LOCKS)
        assert {name: dev.get(name) for name in run} == run


def test_gpu_libraries_stay_out() -> None:
    """The plain xgboost pulls 469 MB of NCCL on Linux; xgboost-cpu is the same module without."""
    for machine in MACHINES:
        locked = installed("requirements.lock", **machine)
        assert [name for name in locked if name.startswith("nvidia")] == []
        assert ("xgboost" in locked, "xgboost-cpu" in locked) == (
            (True, False) if machine["sys_platform"] == "darwin" else (False, True)
        )


def hooks() -> list[dict]:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"], "hooks of other repositories need the network"
    return repos[0]["hooks"]


def test_the_hooks_are_what_make_lint_and_make_types_run() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set()
    for target in ("lint", "types"):
        (body,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
        commands |= set(re.findall(r"^\t@?\$\(BIN\)/(.+)$", body, flags=re.MULTILINE))
    ours = {hook["entry"] + (" notebooks/*.ipynb dashboards/*.ipynb" if "files" in hook else "") for hook in hooks()}
    assert ours == commands
    assert {hook["language"] for hook in hooks()} == {"system"}


def test_the_hooks_are_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_licence_is_the_one_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "9. Accepting Warranty" in text
