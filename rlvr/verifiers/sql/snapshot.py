"""The bytes of a SQLite database as its last commit left it, read without opening it: nothing on
disk is ever touched.

A write-ahead log beside the file is applied here (its committed frames,
https://sqlite.org/walformat.html); SQLite itself would have to create shared-memory files to read
it. Not covered: a file that somebody changes while it is read, and a rollback journal left by a
crash, which is refused.
"""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = b"SQLite format 3\x00"
_WAL_HEADER, _FRAME_HEADER = 32, 24  # bytes
_ROLLBACK = b"\x01\x01"  # read and write version of the header: no write-ahead log
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


class Unusable(Exception):
    """The database cannot be judged with; the text says why."""


def companions(path: Path) -> tuple[Path, Path]:
    """The write-ahead log and the rollback journal that belong to a database file."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")


def stamp(path: Path) -> tuple[int, ...]:
    """Changes when the database does: device, inode, size and time of the file and of its logs."""
    marks: list[int] = []
    for part in (path, *companions(path), path.with_name(path.name + ".wal")):  # DuckDB's log too
        try:
            info = part.stat()
            marks += [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns]
        except FileNotFoundError:
            marks.append(-1)
    return tuple(marks)


def check_journal(path: Path) -> None:
    """Raise Unusable when a transaction was cut off: the file may hold half of it."""
    journal = companions(path)[1]
    try:
        with journal.open("rb") as file:
            hot = file.read(8) == _JOURNAL_MAGIC
    except FileNotFoundError:
        return
    if hot:
        raise Unusable(f"{path.name} has a rollback journal: finish or roll back its transaction")


def has_log(path: Path) -> bool:
    log = companions(path)[0]
    return log.is_file() and log.stat().st_size > _WAL_HEADER


def read(path: Path) -> bytes:
    """The whole database, the log's commits applied. Raises Unusable and OSError."""
    check_journal(path)
    image = bytearray(path.read_bytes())
    if image and not image.startswith(MAGIC):
        raise Unusable(f"{path.name} is not a SQLite database")
    if has_log(path):
        _apply(image, companions(path)[0].read_bytes())
    if len(image) >= 20:
        image[18:20] = _ROLLBACK  # an image in memory cannot have a log
    return bytes(image)


def _apply(image: bytearray, log: bytes) -> None:
    """Copy the pages of all committed frames into the image, in place."""
    magic, _version, page_size, _sequence, salt1, salt2, check1, check2 = struct.unpack(
        ">8I", log[:_WAL_HEADER]
    )
    if magic not in (0x377F0682, 0x377F0683):
        return
    order = ">" if magic & 1 else "<"
    page_size = 65536 if page_size == 1 else page_size
    sums = _checksum(log[:24], (0, 0), order)
    if sums != (check1, check2):
        return
    pending: dict[int, bytes] = {}
    for start in range(
        _WAL_HEADER, len(log) - _FRAME_HEADER - page_size + 1, _FRAME_HEADER + page_size
    ):
        header = log[start : start + _FRAME_HEADER]
        number, pages_after, *rest = struct.unpack(">6I", header)
        page = log[start + _FRAME_HEADER : start + _FRAME_HEADER + page_size]
        sums = _checksum(page, _checksum(header[:8], sums, order), order)
        if rest != [salt1, salt2, *sums]:
            return  # the rest is left over from an earlier round of the log
        pending[number] = page
        if pages_after:
            _commit(image, pending, page_size, pages_after)
            pending = {}


def _commit(image: bytearray, pages: dict[int, bytes], page_size: int, count: int) -> None:
    size = page_size * count
    if len(image) < size:
        image.extend(bytes(size - len(image)))
    for number, page in pages.items():
        if number <= count:
            image[(number - 1) * page_size : number * page_size] = page
    del image[size:]


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
