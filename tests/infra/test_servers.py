"""The private servers start, serve, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mariadb import MariaDB
from tests.support.postgresql import PostgreSQL
from tests.support.processes import (
    ServerDidNotStartError,
    ServerProcess,
    accepts_connections,
    find_free_port,
    find_program,
    wait_until,
)
from tests.support.redis import Redis
from tests.support.s3 import S3Server
from tests.support.sandbox import SandboxServer


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_mariadb_compares_text_by_bytes_and_refuses_what_does_not_fit(mariadb_server: MariaDB) -> None:
    import dj_database_url
    import MySQLdb

    config = dj_database_url.parse(mariadb_server.create_database("infra"))
    assert config["ENGINE"] == "django.db.backends.mysql"
    connection = MySQLdb.connect(unix_socket=config["HOST"], user=config["USER"], database=config["NAME"])
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE word (text VARCHAR(3) PRIMARY KEY)")
    cursor.execute("INSERT INTO word VALUES ('a'), ('A'), ('ä'), ('\N{PILE OF POO}')")
    cursor.execute("SELECT COUNT(*) FROM word WHERE text = 'a'")
    assert cursor.fetchone() == (1,)
    with pytest.raises(MySQLdb.DataError):
        cursor.execute("INSERT INTO word VALUES ('long')")
    connection.close()


def test_a_stopped_mariadb_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    with MariaDB(tmp_path) as server:
        pid, socket = server.server.pid, server.socket
        assert socket.exists()
        assert is_alive(pid)
    assert not is_alive(pid)
    assert not socket.parent.exists()


@pytest.mark.mariadb
def test_with_mariadb_passes_on_exit_code_and_address(tmp_path: Path) -> None:
    script = "import os, MySQLdb, dj_database_url as d; c = d.parse(os.environ['TEST_DATABASE_URL']);"
    script += "MySQLdb.connect(unix_socket=c['HOST'], user='root'); print(c['HOST']); raise SystemExit(7)"
    done = subprocess.run(["bin/with-mariadb", sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert not Path(done.stdout.strip()).exists()


def test_redis_answers(redis_server: Redis) -> None:
    import redis

    client = redis.Redis.from_url(redis_server.url)
    assert client.ping()
    client.close()


def test_postgresql_answers(postgresql_server: PostgreSQL) -> None:
    import psycopg

    with psycopg.connect(postgresql_server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_s3_keeps_what_is_put(s3_server: S3Server) -> None:
    import boto3

    s3_server.create_bucket("infra")
    settings = s3_server.environment("infra")
    client = boto3.client(
        "s3",
        endpoint_url=settings["R2_ENDPOINT_URL"],
        region_name="auto",
        aws_access_key_id=settings["R2_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["R2_SECRET_ACCESS_KEY"],
    )
    client.put_object(Bucket="infra", Key="a/b.pdf", Body=b"%PDF")
    assert client.get_object(Bucket="infra", Key="a/b.pdf")["Body"].read() == b"%PDF"


def test_browser_runs_scripts(browser) -> None:
    page = browser.new_page()
    page.set_content("<p id=sum></p><script>document.getElementById('sum').textContent = 40 + 2</script>")
    assert page.inner_text("#sum") == "42"
    page.close()


def test_sandbox_keeps_its_state_over_a_crash(tmp_path: Path) -> None:
    with SandboxServer(tmp_path) as server:
        before = server.control("GET", "/_sandbox/health")
        server.kill()
        assert not accepts_connections(server.port)
        server.start()
        assert server.control("GET", "/_sandbox/health").keys() == before.keys()


def test_a_program_that_ends_is_reported_with_what_it_said(tmp_path: Path) -> None:
    server = ServerProcess(
        [sys.executable, "-c", "raise SystemExit('no licence')"], is_ready=lambda: False, log=tmp_path / "log"
    )
    with pytest.raises(ServerDidNotStartError, match="no licence"):
        server.start()


def test_a_program_that_does_not_serve_is_ended(tmp_path: Path) -> None:
    server = ServerProcess(
        [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
        is_ready=lambda: False,
        log=tmp_path / "log",
        start_timeout_seconds=0.5,
    )
    with pytest.raises(ServerDidNotStartError, match="does not serve"):
        server.start()
    assert not is_alive(int(server.tail()))


def test_children_of_a_server_end_with_it(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    log = tmp_path / "log"
    server = ServerProcess(
        [sys.executable, "-c", script],
        is_ready=lambda: log.exists() and log.read_bytes().endswith(b"\n"),
        log=log,
    )
    with server:
        child = int(server.tail())
        assert is_alive(child)
    wait_until(lambda: not is_alive(child), what="the end of the child")
    assert not is_alive(child)


def test_servers_end_with_a_killed_test_run(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal
from tests.support.processes import ServerProcess
log = pathlib.Path({str(tmp_path / "log")!r})
server = ServerProcess(["sh", "-c", "echo up; exec sleep 60"], is_ready=lambda: log.read_bytes() != b"", log=log)
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    server = int(done.stdout)
    wait_until(lambda: not is_alive(server), what="the end of the server")
    assert not is_alive(server)


def test_free_ports_are_free() -> None:
    assert not accepts_connections(find_free_port())


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(ServerDidNotStartError, match="install the package some-package"):
        find_program("no-such-program", package="some-package")
