"""Coverage-guided fuzzing of the reader of delimited files against the reference (Linux; needs atheris).

``python tests/fuzz/reader.py -max_total_time=600 CORPUS``: libFuzzer's options; what breaks is written to ``crash-…``.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz import malformed

BLOCKS = (1, 7, 4_000_000)
WORK = tempfile.TemporaryDirectory(prefix="fuzz-")


def made_of(raw: bytes) -> tuple[malformed.Made, int]:
    """Return the file and the size of a block that some bytes stand for: the first two choose, the others are the file."""
    first, second = raw[0], raw[1]
    encoding = malformed.ENCODINGS[first % len(malformed.ENCODINGS)][0]
    delimiter = ("", *malformed.DELIMITERS)[second % 5]
    return malformed.Made(raw[2:], encoding, delimiter), BLOCKS[second // 5 % len(BLOCKS)]


def one(raw: bytes) -> None:
    """Check one input; anything raised is a finding."""
    from fuzz import agreement

    if len(raw) < 2:
        return
    made, block = made_of(raw)
    path = Path(WORK.name) / "clients.csv"
    path.write_bytes(made.raw)
    wanted = agreement.expected(made)
    found = agreement.read(path, made, block=block)
    assert found == (wanted and wanted[1]), (made, block, found, wanted)


def seeds(corpus: Path, *, files: int = 200) -> None:
    """Write files to begin with."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        rng = random.Random(number)
        made = malformed.customers(rng, rows=rng.randrange(8))
        names = [encoding[0] for encoding in malformed.ENCODINGS]
        choice = bytes(
            [names.index(made.encoding), ("", *malformed.DELIMITERS).index(made.delimiter) + 5 * (number % 3)]
        )
        (corpus / f"seed-{number:03d}").write_bytes(choice + made.raw)


def main() -> None:
    import atheris

    folders = [Path(text) for text in sys.argv[1:] if not text.startswith("-")]
    if folders:
        seeds(folders[0])
    with atheris.instrument_imports(include=["crmlib.warehouse.delimited", "crmlib.warehouse.records"]):
        import crmlib.warehouse.delimited  # noqa: F401
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
