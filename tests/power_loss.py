"""A file system that forgets: what a crash may leave of a recorded sequence of writes, syncs and renames.

The rules are those of POSIX and no kinder: the bytes of a file are kept up to its last fsync, what was written since may
be there, lost, or torn; a new name, a new folder, a rename or a removal is kept once the folder it stands in was synced.
Of the unsynced changes of one folder, or one file, a crash keeps any beginning.
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from crmlib.store import files

WRITE, CREATE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC_FOLDER = range(1, 11)
_HEAD = struct.Struct("<IIIQQ")
_FOLDER = -1


@dataclass(frozen=True)
class Step:
    """One recorded step: ``other`` the new name, ``offset`` of the bytes or the length a file is cut to."""

    kind: int
    path: str
    other: str
    offset: int
    data: bytes


def read_log(file: Path) -> list[Step]:
    """Return the steps that the shim recorded."""
    content, at, found = file.read_bytes(), 0, []
    while at < len(content):
        kind, path, other, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        parts = []
        for size in (path, other, length):
            parts.append(content[at : at + size])
            at += size
        found.append(Step(kind, parts[0].decode(), parts[1].decode(), offset, parts[2]))
    return found


def boundaries(steps: list[Step]) -> list[int]:
    """Return after how many steps a crash is worth looking at: at each sync, rename, link and removal, and at the end."""
    kinds = (SYNC, SYNC_FOLDER, RENAME, LINK, UNLINK)
    return sorted({0, len(steps), *(number for number, step in enumerate(steps) if step.kind in kinds)})


@dataclass
class _Inode:
    durable: bytearray
    pending: list[Step] = field(default_factory=list)

    def content(self, keep: float, chance: random.Random) -> bytes:
        """Return the synced bytes and a beginning of what was written since, the last of it torn."""
        found = bytearray(self.durable)
        count = round(keep * len(self.pending))
        for number, step in enumerate(self.pending[:count]):
            torn = 0 < keep < 1 and number == count - 1 and step.kind == WRITE
            _apply(found, step, chance.randrange(len(step.data) + 1) if torn else None)
        return bytes(found)


def _apply(content: bytearray, step: Step, only: int | None = None) -> None:
    if step.kind == TRUNCATE:
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    data = step.data[:only]
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(data)] = data


@dataclass
class _Change:
    """A change of names; ``folder`` is the one whose sync keeps it."""

    kind: int
    path: str
    other: str
    inode: int
    folder: str
    durable: bool = False


class Disk:
    """A folder's files as the disk has them and as the processes see them."""

    def __init__(self, origin: Path, root: Path) -> None:
        """Begin with the files below ``origin``, all synced; the recorded paths are below ``root``."""
        self.root = str(root)
        self.inodes: list[_Inode] = []
        self.first: dict[str, int] = {}
        for path in sorted(origin.rglob("*")):
            name = f"{self.root}/{path.relative_to(origin).as_posix()}"
            self.first[name] = _FOLDER if path.is_dir() else self._new(path.read_bytes())
        self.first[self.root] = _FOLDER
        self.names = dict(self.first)
        self.changes: list[_Change] = []

    def _new(self, content: bytes = b"") -> int:
        self.inodes.append(_Inode(bytearray(content)))
        return len(self.inodes) - 1

    def do(self, step: Step) -> None:
        """Do one recorded step."""
        inode = self.names.get(step.path)
        if step.kind in (WRITE, TRUNCATE, SYNC):
            if inode is None or inode == _FOLDER:
                return  # a file that was removed while it was open
            file = self.inodes[inode]
            if step.kind != SYNC:
                file.pending.append(step)
                return
            for one in file.pending:
                _apply(file.durable, one)
            file.pending.clear()
        elif step.kind == SYNC_FOLDER:
            for change in self.changes:
                change.durable |= change.folder == step.path
        else:
            made = self._new() if step.kind == CREATE else _FOLDER if step.kind == MKDIR else inode
            named = step.other if step.kind in (RENAME, LINK) else step.path
            change = _Change(step.kind, step.path, step.other, made if made is not None else _FOLDER, _above(named))
            _rename(self.names, change)
            self.changes.append(change)

    def after_crash(self, target: Path, *, names: float, bytes_: float, chance: random.Random) -> None:
        """Write into ``target`` what a crash now may leave.

        ``names`` and ``bytes_`` say how much of what was not synced is kept of each folder and file: 0 nothing, 1 all,
        and between them a random part.
        """
        kept = dict(self.first)
        waiting: dict[str, list[_Change]] = {}
        for change in self.changes:
            if not change.durable:
                waiting.setdefault(change.folder, []).append(change)
        survive = {
            id(change)
            for changes in waiting.values()
            for change in changes[: round(_share(names, chance) * len(changes))]
        }
        for change in self.changes:
            if change.durable or id(change) in survive:
                _rename(kept, change)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        contents: dict[int, bytes] = {}
        for name in sorted(kept):
            if name != self.root and kept.get(_above(name)) != _FOLDER:
                continue  # its folder's entry is lost, and with it all that is inside
            path = target / PurePosixPath(name).relative_to(self.root)
            inode = kept[name]
            if inode == _FOLDER:
                if not path.parent.is_dir():
                    continue
                path.mkdir(exist_ok=True)
            elif path.parent.is_dir() and not name.endswith("-shm"):  # memory that SQLite shares, made anew
                if inode not in contents:
                    contents[inode] = self.inodes[inode].content(_share(bytes_, chance), chance)
                path.write_bytes(contents[inode])
        for takes in target.rglob(files.TAKES):
            takes.write_text("".join(self._marked_anew(line, kept, target) for line in takes.open()))

    def _marked_anew(self, line: str, kept: dict[str, int], target: Path) -> str:
        """Return a line of ``takes`` with the mark of the same file in a copy: a disk keeps its number, a copy cannot."""
        name = line.rstrip("\n").partition(" ")[2]
        full = f"{self.root}/data/{name}"
        same = [change for change in self.changes if change.kind == RENAME and change.other == full]
        if not name or not same or kept.get(full) != same[-1].inode or not (target / "data" / name).exists():
            return line
        return f"{files._mark(target / 'data' / name)} {name}\n"


def _share(keep: float, chance: random.Random) -> float:
    return keep if keep in (0, 1) else chance.random()


def _above(name: str) -> str:
    return name.rpartition("/")[0]


def _rename(names: dict[str, int], change: _Change) -> None:
    """Change a name, where what it is about is there."""
    if change.kind in (CREATE, MKDIR):
        names[change.path] = change.inode
    elif change.kind == LINK:
        names[change.other] = change.inode
    elif change.kind in (UNLINK, RMDIR):
        names.pop(change.path, None)
    elif change.inode != _FOLDER:
        # A rename is one change of the journal: where it is kept, so is the file, by whatever name it had.
        names.pop(change.path, None)
        names[change.other] = change.inode
    else:
        for name in [one for one in names if one == change.path or one.startswith(f"{change.path}/")]:
            names[change.other + name[len(change.path) :]] = names.pop(name)
        names[change.other] = _FOLDER


def crashes(steps: list[Step], origin: Path, root: Path, at: list[int]) -> Iterator[tuple[int, Disk]]:
    """Yield the disk after each of the numbers of steps ``at``, in order."""
    disk, done = Disk(origin, root), 0
    for number in at:
        for step in steps[done:number]:
            disk.do(step)
        done = number
        yield number, disk
