"""A local S3 server (moto's) that can refuse requests."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
serving = pytest.importorskip("werkzeug.serving", reason="moto's server is not installed")


class Store:
    """moto's S3, which can refuse requests."""

    def __init__(self) -> None:
        self.url = ""
        self._app = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self.refused = 0
        self.refuse: Callable[[str, str], bool] = lambda method, query: False
        """(method, query) -> whether the request is answered with 503 SlowDown."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if not self.refuse(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")):
            return self._app(environ, start_response)
        self.refused += 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Connection", "close")])
        return [b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"]

    def storage(self, bucket: str, prefix: str = "studies") -> str:
        """A storage in a bucket as a URI."""
        return f"s3://{bucket}/{prefix}?region=us-east-1&endpoint_override={quote(self.url, safe='')}"


@contextlib.contextmanager
def serve() -> Iterator[Store]:
    """The store, on a free port of this machine."""
    store = Store()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = serving.make_server("127.0.0.1", 0, store, threaded=True)
    store.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
