"""The real embedded server, with programs that share it, die, and use it again."""

import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from infrastructure.database.embedded import EmbeddedServer, EmbeddedServerFailed, binaries
from infrastructure.database.socket_folder import make_private, socket_folder
from tests.databases import quick_folder
from tests.infrastructure.database.programs import as_user, end_program, postmaster, starting, until, url_of, using

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")

STRANGER = 12345
WITHOUT_NAMESPACES = (sys.executable, str(Path(__file__).with_name("without_namespaces.py")))


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that every user can reach. No server of it survives the test."""
    with quick_folder() as place:
        folder = place / "data"
        yield folder
        stop_server(folder)


def stop_server(folder: Path) -> None:
    """Stop the server of a data folder if a killed program left it running."""
    if EmbeddedServer(folder).is_alive():
        EmbeddedServer.start(folder).stop()
    assert not EmbeddedServer(folder).is_alive()


def insert(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number integer)")
        connection.execute("INSERT INTO numbers VALUES (%s)", (number,))


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


def test_a_fresh_folder_gets_a_server_that_keeps_data_safe(data_dir: Path) -> None:
    with EmbeddedServer.start(data_dir) as server, psycopg.connect(server.url) as connection:
        settings: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert (settings["fsync"], settings["synchronous_commit"]) == ("on", "on")
        assert (settings["listen_addresses"], settings["TimeZone"]) == ("", "UTC")
        assert (settings["server_encoding"], settings["data_checksums"]) == ("UTF8", "on")
        assert connection.info.dbname == "shiplock"
        assert os.getsid(postmaster(data_dir)) != os.getsid(0), "Ctrl-C in our terminal would end it"
    assert not server.is_alive()


def test_postgresqls_environment_variables_change_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"PGPORT": "1", "PGDATA": "/nowhere", "TMPDIR": "/nowhere", "LC_ALL": "xx_XX"}.items():
        monkeypatch.setenv(key, value)
    with EmbeddedServer.start(data_dir) as server:
        insert(server.url, 1)


@as_root
def test_other_users_can_not_connect_and_no_folder_changes_its_permissions(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    folders = {*binaries().parents, binaries(), *data_dir.parents, data_dir}
    before = {folder: folder.stat().st_mode for folder in folders}
    psql = (str(binaries() / "psql"), "-c", "SELECT 'come in'")
    with EmbeddedServer.start(data_dir) as server:
        assert {folder: folder.stat().st_mode for folder in folders} == before
        as_stranger = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
        refused = subprocess.run([*as_stranger, *psql, server.url], capture_output=True, text=True)
        assert "Permission denied" in refused.stderr
        assert "come in" in subprocess.run([*psql, server.url], capture_output=True, text=True).stdout


def test_a_killed_program_leaves_a_server_that_the_next_one_uses_and_stops(data_dir: Path) -> None:
    with using(data_dir) as killed:
        number = postmaster(data_dir)
        killed.kill()
        killed.wait()
    with EmbeddedServer.start(data_dir) as server:
        assert postmaster(data_dir) == number
    assert not server.is_alive()


def test_a_program_that_leaves_does_not_stop_the_server_of_another(data_dir: Path) -> None:
    with using(data_dir) as first, EmbeddedServer.start(data_dir) as second:
        end_program(first)
        insert(second.url, 1)
    assert not second.is_alive()


def test_four_programs_can_start_on_a_fresh_folder_at_the_same_time(data_dir: Path) -> None:
    with ExitStack() as stack:
        programs = [stack.enter_context(starting(data_dir)) for _ in range(4)]
        for number, program in enumerate(programs):
            insert(url_of(program), number)
        assert numbers(EmbeddedServer(data_dir).url) == [0, 1, 2, 3]
        for program in programs:
            end_program(program)
    assert not EmbeddedServer(data_dir).is_alive()


def test_a_killed_server_is_started_again_with_all_committed_data(data_dir: Path) -> None:
    with EmbeddedServer.start(data_dir) as server:
        insert(server.url, 1)
        os.kill(postmaster(data_dir), signal.SIGKILL)
        until(lambda: not server.is_alive())
        server.ensure_running()
        insert(server.url, 2)
        assert numbers(server.url) == [1, 2]
    server.ensure_running()
    assert not server.is_alive(), "it was stopped, not lost"


def test_a_stale_process_number_does_no_harm_to_the_process_that_has_it_now(data_dir: Path) -> None:
    server = EmbeddedServer.start(data_dir)
    stale = (data_dir / "postgresql" / "postmaster.pid", data_dir / "run" / ".s.PGSQL.5432.lock")
    os.kill(postmaster(data_dir), signal.SIGKILL)
    until(lambda: not server.is_alive())
    with subprocess.Popen(["sleep", "60"]) as other:
        for file in stale:
            file.write_text("\n".join([str(other.pid), *file.read_text().splitlines()[1:]]) + "\n")
        with EmbeddedServer.start(data_dir) as again:
            insert(again.url, 1)
            server.stop()
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("sign", ["postgresql.unfinished-*/base", "postgresql/postmaster.pid"])
def test_a_program_killed_while_it_starts_the_server_does_no_harm(data_dir: Path, sign: str) -> None:
    with starting(data_dir) as killed:
        until(lambda: list(data_dir.glob(sign)))
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    with EmbeddedServer.start(data_dir) as server:
        insert(server.url, 1)
    assert not list(data_dir.glob("*unfinished*"))


@pytest.mark.parametrize("name", ["a" * 120, 'it\'s a "folder", $HOME & c:\\o% 订单'])
def test_a_data_folder_can_have_any_path(data_dir: Path, name: str) -> None:
    folder = data_dir / name
    with EmbeddedServer.start(folder) as server:
        insert(server.url, 1)
        assert stat.S_IMODE(socket_folder(folder).stat().st_mode) == 0o700
    socket_folder(folder).rmdir()


def test_a_link_that_someone_put_in_place_of_the_sockets_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")
    with pytest.raises(EmbeddedServerFailed, match="made by someone else"):
        make_private(tmp_path / "run", like=tmp_path)


def test_a_failed_start_shows_the_servers_log_and_what_to_do(data_dir: Path) -> None:
    EmbeddedServer.start(data_dir).stop()
    settings = data_dir / "postgresql" / "postgresql.auto.conf"
    settings.write_text("shared_buffers = 'a lot'\n")
    with pytest.raises(EmbeddedServerFailed, match=r"(?s)shared_buffers.*SHIPLOCK_DATABASE_URL"):
        EmbeddedServer.start(data_dir)
    settings.write_text("")
    EmbeddedServer.start(data_dir).stop()
    (data_dir / "postgresql" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerFailed, match="written by PostgreSQL 17"):
        EmbeddedServer.start(data_dir)


def test_an_impossible_data_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerFailed, match="SHIPLOCK_DATA_DIR"):
        EmbeddedServer.start(tmp_path / "file" / "data")


@as_root
def test_root_can_use_the_server_where_namespaces_are_forbidden(data_dir: Path) -> None:
    if subprocess.run([*WITHOUT_NAMESPACES, "/bin/true"]).returncode != 0:
        pytest.skip("this machine can't forbid namespaces")
    with EmbeddedServer.start(data_dir) as server:
        insert(server.url, 1)
    with using(data_dir, *WITHOUT_NAMESPACES) as program:
        assert numbers(server.url) == [1]
        assert (data_dir / "postgresql").stat().st_uid != 0
        end_program(program)
    assert not server.is_alive()
    with EmbeddedServer.start(data_dir) as server:
        assert numbers(server.url) == [1]


@as_root
@pytest.mark.parametrize("user", [pwd.getpwall()[-1].pw_uid, STRANGER], ids=["named", "nameless"])
def test_an_ordinary_user_can_use_the_server_and_root_after_them(data_dir: Path, user: int) -> None:
    data_dir.mkdir()
    os.chown(data_dir, user, user)
    with using(data_dir, *as_user(user)) as program:
        insert(EmbeddedServer(data_dir).url, 1)
        end_program(program)
    with EmbeddedServer.start(data_dir) as server:
        assert numbers(server.url) == [1]
    assert {file.stat().st_uid for file in data_dir.rglob("*")} == {user}
    with using(data_dir, *as_user(user)) as program:
        end_program(program)
