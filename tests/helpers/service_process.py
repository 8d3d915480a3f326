"""Processes that serve, and requests written by hand."""

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]


def environment():
    """This environment, in which other processes find the same attnlab."""
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *([before] if before else [])])}


class Service:
    """``tiny_service.py`` in a process; ``url`` once it answers."""

    def __init__(self, **options):
        command = [sys.executable, str(Path(__file__).with_name("tiny_service.py"))]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert select.select([self.process.stdout], [], [], 120)[0], "it did not start"
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url
        self.port = urlsplit(self.url).port

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def predict(self, *texts, **more):
        """Status, and what the JSON of an answer holds."""
        status, _, body = self.ask("POST", "/predict", json.dumps({"texts": texts} | more))
        return status, json.loads(body)

    def begin(self, *texts):
        """A connection over which these texts have been sent; `finish` reads the answer."""
        body = json.dumps({"texts": texts}).encode()
        connection = self.connect()
        connection.sendall(head(len(body)) + body)
        return connection

    def connect(self):
        """A connection over which nothing has been sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def metrics(self):
        """Metrics by name; of one with labels, their sum."""
        from prometheus_client.parser import text_string_to_metric_families

        _, _, body = self.ask("GET", "/metrics")
        families = text_string_to_metric_families(body.decode())
        found = {}
        for sample in [sample for family in families for sample in family.samples]:
            found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    def quiet(self, seconds=10.0):
        """Wait until every request that arrived was answered or told; the metrics then."""
        end = time.monotonic() + seconds
        while True:
            found = self.metrics()
            if found["attnlab_waiting"] == 0 or time.monotonic() > end:
                return found
            time.sleep(0.05)


def head(length, path="/predict"):
    """The first lines of a request with a body of so many bytes."""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode()


def finish(connection):
    """The status that comes back over a connection; 0 if it was closed without."""
    with contextlib.closing(connection):
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            answer.read()
        except (ConnectionError, http.client.BadStatusLine):
            return 0
        return answer.status
