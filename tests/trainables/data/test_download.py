"""Finding and downloading published files: verification, atomic writes, errors with advice."""

import hashlib
import io
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainables.data import download
from trainables.data.download import CorpusError, fetch, find, user_folders
from trainables.recipes import SourceFile

CONTENT = b" the cat sat \n" * 20_000  # some chunks long


class Server(ThreadingHTTPServer):
    """Answers with ``body``, after promising ``promised`` bytes."""

    daemon_threads = True
    body = CONTENT
    promised = None
    status = 200
    hang = False

    def source(self, **changes):
        values = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "num_bytes": len(CONTENT)}
        return SourceFile(path="mini/train.txt", url=f"http://127.0.0.1:{self.server_port}/x", **(values | changes))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if server.hang:
            server.released.wait(10)
            return
        self.send_response(server.status)
        self.send_header("Content-Length", str(server.promised or len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def files(folder):
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


def test_a_download_is_kept_under_its_name_alone(server, tmp_path):
    assert fetch(server.source(), tmp_path, searched={}) == CONTENT
    assert files(tmp_path) == ["mini/train.txt"]
    assert find(server.source(), {"the cache": tmp_path}) == CONTENT


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ({"body": CONTENT[:-5]}, r"is not the published mini/train\.txt: it is truncated"),
        ({"body": CONTENT[:-5], "promised": len(CONTENT)}, r"IncompleteRead|it is truncated"),
        ({"body": CONTENT + b"x"}, "it is larger"),
        ({"body": CONTENT[:-1] + b"x"}, r"its content differs\. Expected 280000 bytes with SHA-256 \w{64}, found"),
        ({"body": b""}, "it is empty"),
        ({"status": 404}, "mini/train.txt is missing and cannot be downloaded.*the server answered 404"),
        ({"hang": True}, "timed out"),
    ],
    ids=["short", "broken off", "long", "differs", "empty", "404", "hangs"],
)
def test_a_failed_download_is_a_clear_error_and_leaves_nothing(server, tmp_path, monkeypatch, served, message):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    for name, value in served.items():
        setattr(server, name, value)
    start = time.monotonic()
    with pytest.raises(CorpusError, match=message) as error:
        fetch(server.source(), tmp_path, searched={})
    assert time.monotonic() - start < 5
    assert server.source().url in str(error.value)
    assert files(tmp_path) == []


def test_a_file_without_end_is_not_read_to_its_end(server, tmp_path):
    server.body = CONTENT * 100
    with pytest.raises(CorpusError, match=r"it is larger.*found [0-9]+ bytes") as error:
        fetch(server.source(), tmp_path, searched={})
    assert "28000000" not in str(error.value)


def test_a_failed_download_leaves_the_old_file(server, tmp_path):
    path = tmp_path / "mini" / "train.txt"
    path.parent.mkdir()
    path.write_text("old")
    server.body = b"new"
    with pytest.raises(CorpusError):
        fetch(server.source(), tmp_path, searched={})
    assert path.read_text() == "old"
    assert files(tmp_path) == ["mini/train.txt"]


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.source(), tmp_path, searched={})
    assert files(tmp_path) == []


def test_no_connection_says_where_was_looked(server, tmp_path):
    source = server.source()
    server.released.set()
    unreachable = SourceFile(path=source.path, url="http://127.0.0.1:1/x", sha256=source.sha256, num_bytes=1)
    with pytest.raises(CorpusError, match="Connection refused") as error:
        fetch(unreachable, tmp_path, searched={"$VDLSTM_DATA": Path("/mine"), "the cache": Path("/cache")})
    assert "$VDLSTM_DATA (/mine/mini/train.txt), the cache (/cache/mini/train.txt)" in str(error.value)
    assert "--corpus toy, which needs nothing" in str(error.value)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(CorpusError, match=r"cannot write .*/cache/mini/train\.txt: .*VDLSTM_CACHE"):
        fetch(server.source(), tmp_path / "cache", searched={})


def test_folders_are_searched_in_order(server, tmp_path):
    source = server.source()
    assert find(source, {"a": tmp_path / "none", "b": tmp_path}) is None
    (tmp_path / "b" / "mini").mkdir(parents=True)
    (tmp_path / "b" / "mini" / "train.txt").write_bytes(CONTENT)
    assert find(source, {"a": tmp_path / "a", "b": tmp_path / "b"}) == CONTENT
    (tmp_path / "a" / "mini").mkdir(parents=True)
    (tmp_path / "a" / "mini" / "train.txt").write_bytes(b"other")
    with pytest.raises(CorpusError, match=r"a/mini/train\.txt is not the published"):
        find(source, {"a": tmp_path / "a", "b": tmp_path / "b"})


@pytest.mark.parametrize(
    ("content", "what"),
    [(CONTENT[:-1] + b"x", "its content differs"), (CONTENT[:100], "it is truncated"), (b"", "it is empty")],
)
def test_a_wrong_file_is_an_error_with_both_checksums_and_advice(server, tmp_path, content, what):
    path = tmp_path / "mini" / "train.txt"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        find(server.source(), {"$VDLSTM_DATA": tmp_path})
    message = str(error.value)
    assert message.startswith(f"{path} is not the published mini/train.txt: {what}")
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(content).hexdigest() in message
    assert "Delete it" in message
    assert path.read_bytes() == content


def test_a_file_that_may_not_be_read_is_named(server, tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CorpusError, match=r"cannot read .*mini/train\.txt: Permission denied"):
        find(server.source(), {"$VDLSTM_DATA": tmp_path})


def test_a_folder_in_a_files_place_is_named(server, tmp_path):
    (tmp_path / "mini" / "train.txt").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"cannot read .*mini/train\.txt: Is a directory"):
        find(server.source(), {"$VDLSTM_DATA": tmp_path})


def test_the_users_folder_is_absolute(monkeypatch, tmp_path):
    monkeypatch.delenv("VDLSTM_DATA", raising=False)
    assert user_folders() == {}
    monkeypatch.setenv("VDLSTM_DATA", "env")
    monkeypatch.chdir(tmp_path)
    assert user_folders() == {"$VDLSTM_DATA": tmp_path / "env"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stderr", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_progress_is_shown_on_a_terminal_only(server, tmp_path, monkeypatch, stderr, shown):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stderr())
    fetch(server.source(), tmp_path, searched={})
    assert ("mini/train.txt" in sys.stderr.getvalue()) == shown
    assert bool(sys.stderr.getvalue()) == shown
