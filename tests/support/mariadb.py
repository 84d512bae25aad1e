"""A private MariaDB on a socket of its own.

As a program (`bin/with-mariadb COMMAND...`) it runs a command with `TEST_DATABASE_URL` naming such a server, ends the
server with it and passes on its exit code.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.support.processes import ServerDidNotStartError, ServerProcess, find_program

SYSTEM_TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
SHARE = Path("/usr/share/mysql")
#: The server lives for minutes and its data is nothing: trade durability for speed, keep the semantics.
SETTINGS = (
    "--skip-networking",
    "--skip-grant-tables",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--default-storage-engine=InnoDB",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-fast-shutdown=2",
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=64M",
    "--skip-log-bin",
    "--sync-binlog=0",
    "--default-time-zone=+00:00",
    "--max-connections=200",
)


class MariaDB:
    """One server with its data in `folder`; `url("name")` is what `DATABASE_URL` takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A socket's path may have 107 characters, and pytest's folders are deep.
        self._socket_folder = tempfile.TemporaryDirectory(prefix="bw-mariadb-", dir="/tmp")
        self.socket = Path(self._socket_folder.name) / "sock"
        self._common = [
            find_program("mariadbd", "mysqld", package="mariadb-server-core"),
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            # A starting server clears its temporary folder: in a shared one, of the others' tables too.
            f"--tmpdir={folder / 'tmp'}",
            *([f"--user={getpass.getuser()}"] if os.geteuid() == 0 else []),
        ]
        self.server = ServerProcess(
            [*self._common, *SETTINGS, f"--socket={self.socket}", f"--pid-file={folder / 'pid'}"],
            is_ready=self._answers,
            log=folder / "mariadb.log",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the data folder on first use, then serve.

        Raises:
            ServerDidNotStartError: with the end of the server's log.
        """
        try:
            if not (self.folder / "data" / "mysql").exists():
                self._make_data_folder()
            self.server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.server.stop()
        self._socket_folder.cleanup()

    def url(self, database: str, *, scheme: str = "mysql") -> str:
        """The address of one of its databases, which need not exist yet."""
        return f"{scheme}://root@{quote(str(self.socket), safe='')}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its address."""
        self._execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return self.url(name)

    def dump_database(self, name: str) -> list[str]:
        """The statements that make its tables and rows, for `create_database_from`."""
        import MySQLdb

        connection = MySQLdb.connect(
            unix_socket=str(self.socket), user="root", database=name, charset="utf8mb4"
        )
        statements = []
        try:
            cursor = connection.cursor()
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                cursor.execute(f"SHOW CREATE TABLE `{table}`")
                (found,) = cursor.fetchall()
                statements.append(found[1])
                cursor.execute(f"SELECT * FROM `{table}`")
                for row in cursor.fetchall():
                    values = ", ".join(connection.literal(value).decode() for value in row)
                    statements.append(f"INSERT INTO `{table}` VALUES ({values})")
        finally:
            connection.close()
        return statements

    def create_database_from(self, statements: Iterable[str], name: str) -> str:
        """Create a database with what `dump_database` told, and return its address."""
        import MySQLdb

        url = self.create_database(name)
        connection = MySQLdb.connect(
            unix_socket=str(self.socket), user="root", database=name, charset="utf8mb4"
        )
        try:
            cursor = connection.cursor()
            # Tables refer to tables that come later.
            cursor.execute("SET foreign_key_checks = 0")
            for statement in statements:
                cursor.execute(statement)
            connection.commit()
        finally:
            connection.close()
        return url

    def _make_data_folder(self) -> None:
        (self.folder / "data" / "mysql").mkdir(parents=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        script = "USE mysql;\n" + "".join(
            (SHARE / name).read_text(encoding="utf-8") for name in SYSTEM_TABLES
        )
        made = subprocess.run(
            [
                *self._common,
                "--bootstrap",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-log-file-size=64M",
            ],
            input=script.encode(),
            capture_output=True,
            check=False,
        )
        if made.returncode:
            shutil.rmtree(self.folder / "data")
            raise ServerDidNotStartError(f"mariadbd cannot make its tables:\n{made.stderr.decode()[-2000:]}")

    def _answers(self) -> bool:
        import MySQLdb

        try:
            MySQLdb.connect(unix_socket=str(self.socket), user="root").close()
        except MySQLdb.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        import MySQLdb

        connection = MySQLdb.connect(unix_socket=str(self.socket), user="root")
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()


def main(command: list[str]) -> int:
    """Run a command beside a private server. Ctrl-C reaches the command; the server ends after it."""
    if not command:
        print("usage: bin/with-mariadb COMMAND...", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bw-mariadb-data-", dir=find_fastest_folder()) as folder:
        try:
            server = MariaDB(Path(folder))
            server.start()
        except ServerDidNotStartError as error:
            print(error, file=sys.stderr)
            return 2
        try:
            child = subprocess.Popen(command, env={**os.environ, "TEST_DATABASE_URL": server.url("billing")})
            # The command gets the terminal's Ctrl-C itself, and a TERM for us is passed on: either way it ends first.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: child.terminate())
            code = child.wait()
        finally:
            server.stop()
    return code if code >= 0 else 128 - code


def find_fastest_folder() -> str | None:
    """Memory, where there is enough of it."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or not os.access(shared, os.W_OK):
        return None
    free = os.statvfs(shared)
    return str(shared) if free.f_bavail * free.f_frsize > 2 * 2**30 else None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
