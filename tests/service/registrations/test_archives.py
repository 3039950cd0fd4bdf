"""PUT /modules/{m} with a tar archive: what is accepted, and what is refused before anything is stored."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = b"CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def member(name: str, content: bytes = b"SELECT 1", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=kind) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def put(service: Any, body: bytes, query: str = "", **headers: str) -> Any:
    # The default of curl --data-binary.
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return service.client.put(f"/modules/m{query}", content=body, headers=kind | headers)


def nothing_stored(service: Any, sql: Callable[..., Any]) -> bool:
    rows = sql(
        "SELECT (SELECT count(*) FROM pgdbm_service.modules) + (SELECT count(*) FROM pgdbm_service.file_contents)"
    )
    return rows[0][0] == 0 and service.get("/modules/m").status_code == 404


@pytest.mark.parametrize("folder", ["", "./", "migrations/", "a/b/"])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_archive_is_registered(service: Any, folder: str, kind: int) -> None:
    long_name = f"{folder}002_{'long' * 20}.sql"
    files = [
        member(f"{folder}001_t.sql", TABLE),
        member(long_name),
        member(f"{folder}001_t.down.sql", b"DROP TABLE {{tables.t}}"),
        member(f"{folder}module.toml", b'schema = "s"\ndescription = "d"'),
        member(f"{folder}README.md", b"not SQL"),
        member(f"{folder}._001_t.sql", b"\x00\x05\x16\x07"),
    ]
    if folder.strip("./"):
        files.insert(0, member(folder.rstrip("/"), b"", type=tarfile.DIRTYPE))
    answer = put(service, gzip.compress(tar(*files, kind=kind)))
    assert answer.status_code == 201, answer.text
    registered = answer.json()
    assert (registered["schema"], registered["description"]) == ("s", "d")
    assert registered["migrations"] == ["001_t.down.sql", "001_t.sql", long_name.rpartition("/")[2]]
    assert len(service.post("/modules/m/migrate").json()["applied"]) == 2
    assert [
        one["filename"] for one in service.post("/modules/m/revert", json={"steps": 1}).json().get("reverted", [])
    ] == []


def test_settings_are_given_beside_an_archive(service: Any) -> None:
    body = gzip.compress(tar(member("001.sql", TABLE), member("module.toml", b'schema = "a"\ndescription = "d"')))
    registered = put(service, body, "?schemas=x&schemas=y&out_of_order=allow").json()
    assert (registered["schemas"], registered["out_of_order"]) == (["x", "y"], "allow")
    assert registered["description"] == "d"
    assert put(service, body, "?schemas=t_*").json()["schemas"] == "t_*"
    assert_problem(put(service, body, "?shema=x"), 400, "invalid_request")
    assert_problem(put(service, body, "?schema=no-hyphens"), 422, "module_invalid")
    assert put(service, tar(member("001.sql", TABLE)), "?schema=plain").json()["schema"] == "plain"


def test_down_migrations_are_part_of_the_bundle(service: Any, sql: Callable[..., Any]) -> None:
    put(service, gzip.compress(tar(member("001.sql", TABLE), member("001.down.sql", b"DROP TABLE {{tables.t}}"))))
    service.post("/modules/m/migrate")
    assert sql("SELECT to_regclass('m.t') IS NOT NULL")[0][0]
    assert service.post("/modules/m/revert").json()["reverted"][0]["filename"] == "001.sql"
    assert not sql("SELECT to_regclass('m.t') IS NOT NULL")[0][0]


GOOD = member("001.sql")
REFUSED: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "absolute": ([member("/etc/001.sql")], "absolute"),
    "parent": ([member("../001.sql")], "leads out"),
    "parent in the middle": ([member("a/../../001.sql")], "leads out"),
    "parent folder": ([GOOD, member("a/..", b"", type=tarfile.DIRTYPE)], "leads out"),
    "backslash": ([member("a\\001.sql")], "backslash"),
    "symbolic link": ([member("001.sql", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "is a link"),
    "hard link": ([GOOD, member("002.sql", b"", type=tarfile.LNKTYPE, linkname="001.sql")], "is a link"),
    "link that is not SQL": ([GOOD, member("x", b"", type=tarfile.SYMTYPE, linkname="..")], "is a link"),
    "device": ([member("001.sql", b"", type=tarfile.CHRTYPE)], "neither a file nor a folder"),
    "pipe": ([member("001.sql", b"", type=tarfile.FIFOTYPE)], "neither a file nor a folder"),
    "twice": ([GOOD, member("001.sql", b"SELECT 2")], "twice"),
    "twice, differently": ([GOOD, member("./001.sql", b"SELECT 2")], "twice"),
    "two folders": ([member("a/001.sql"), member("b/002.sql")], "several folders"),
    "deep": ([member("/".join("abcdefghij") + "/001.sql")], "folders deep"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_archive_is_refused(service: Any, sql: Callable[..., Any], case: str) -> None:
    members, reported = REFUSED[case]
    problem = assert_problem(put(service, gzip.compress(tar(*members))), 422, "archive_invalid")
    assert reported in problem["detail"]
    assert nothing_stored(service, sql)


def test_a_damaged_archive_is_refused(service: Any, sql: Callable[..., Any]) -> None:
    whole = tar(member("001.sql"), member("002.sql", b"SELECT 2;" * 500), member("003.sql"))
    header_of_second = bytearray(whole)
    header_of_second[1024:1034] = b"\x01garbage\x02\x03"
    archive = gzip.compress(whole)
    for body in (
        archive[: len(archive) // 2],
        archive[:-4] + b"\x00\x00\x00\x00",
        gzip.compress(bytes(header_of_second)),
        gzip.compress(whole[:1500]),
        gzip.compress(b"no tar at all"),
        gzip.compress(b""),
        b"\x1f\x8b",
        bytes(header_of_second),
    ):
        assert_problem(put(service, body), 422, "archive_invalid")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive_file:
        archive_file.writestr("001.sql", "SELECT 1")
    assert "tar.gz" in assert_problem(put(service, zipped.getvalue()), 422, "archive_invalid")["detail"]
    assert nothing_stored(service, sql)


def test_archive_bombs_are_refused(start: Callable[..., Any], sql: Callable[..., Any]) -> None:
    service = start(max_bundle_bytes=1024 * 1024, max_bundle_files=50)
    bombs = [
        # A thousand times its size, unpacked.
        gzip.compress(tar(member("001.sql", b"-" * (64 * 1024 * 1024)))),
        gzip.compress(b"\x00" * (64 * 1024 * 1024)),
        # Ignored files count, too.
        gzip.compress(tar(GOOD, member("image.bin", b"\x00" * (2 * 1024 * 1024)))),
        gzip.compress(tar(*[member(f"{number}.sql") for number in range(51)])),
        gzip.compress(tar(*[member(f"{number}", b"", type=tarfile.DIRTYPE) for number in range(51)])),
    ]
    assert all(len(bomb) < 100_000 for bomb in bombs)
    for bomb in bombs:
        problem = assert_problem(put(service, bomb), 413, "bundle_too_large")
        assert (problem["max_bytes"], problem["max_files"]) == (1024 * 1024, 50)
    # It claims to be larger than it is.
    claims = bytearray(tar(member("001.sql", b"SELECT 1")))
    claims[124:136] = b"77777777777\x00"
    claims[148:156] = b" " * 8
    checksum = sum(claims[:512])
    claims[148:156] = f"{checksum:06o}\x00 ".encode()
    assert_problem(put(service, gzip.compress(bytes(claims))), 413, "bundle_too_large")
    assert nothing_stored(service, sql)


def test_files_of_an_archive_are_parsed(service: Any, sql: Callable[..., Any]) -> None:
    for content, line in ((b"SELECT 1;\nSELEKT 2", 2), (b"SELECT '\xe9'", 1)):
        problem = assert_problem(
            put(service, gzip.compress(tar(GOOD, member("002.sql", content)))), 422, "migration_file_invalid"
        )
        assert (problem["filename"], problem["line"]) == ("002.sql", line)
    problem = assert_problem(
        put(service, gzip.compress(tar(GOOD, member("module.toml", b'\nschema = "a"\nshema = "b"')))),
        422,
        "module_invalid",
    )
    assert (problem["filename"], problem["key"], problem["line"]) == ("module.toml", "shema", 3)
    assert_problem(put(service, gzip.compress(tar(GOOD, member("module.toml", b"\xff")))), 422, "module_invalid")
    assert_problem(put(service, gzip.compress(tar(member("README.md")))), 422, "module_invalid")
    assert nothing_stored(service, sql)


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_are_answered(service: Any, seed: int) -> None:
    import random

    chance = random.Random(seed)
    whole = bytearray(tar(member("001.sql"), member("002.sql", b"SELECT 2;" * 100), member("a" * 200 + ".sql")))
    for _ in range(60):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        for sent in (bytes(body), gzip.compress(bytes(body))):
            assert put(service, sent).status_code in (200, 201, 400, 413, 422)
