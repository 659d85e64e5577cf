"""One engine of our own, started, provisioned and stopped by a test. Python 3.9 or newer, no packages."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET_DIR = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# The program under test.
ISERE = pathlib.Path(os.environ.get("ISERE", TARGET_DIR / "release" / "isere"))
# What SPDK's RPCs put before a target's short name.
NODE_BASE = "iqn.2016-06.io.spdk"


class RpcError(Exception):
    """The engine refused: `code` and `message` are those of the JSON-RPC error."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Engine:
    """`isere serve` in a directory of its own. A context manager: leaving it ends the process."""

    def __init__(self, *arguments):
        if not ISERE.exists():
            sys.exit(f"{ISERE} is not there: cargo build --release -p isere")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="isere-"))
        self.socket = self.directory / "rpc.sock"
        self.log = self.directory / "log"
        self.process = None
        self.start(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *arguments):
        with open(self.log, "ab") as log:
            command = [ISERE, "serve", "--rpc-socket", self.socket, *arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return self.rpc("spdk_get_version")
            except OSError:
                time.sleep(0.02)
        self.stop()
        sys.exit(f"the engine did not start:\n{self.tail()}")

    def stop(self):
        """Ends the process with SIGTERM and returns its exit code; one that does not end is killed."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -signal.SIGKILL

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def tail(self, lines=20):
        """The last lines of the engine's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def rpc(self, method, **params):
        """Calls a method on a connection of its own."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(request).encode())
            answer = receive(connection)
        if "error" in answer:
            raise RpcError(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    def provision(self, target, bdevs, port=None):
        """A target at 127.0.0.1 for everybody, the devices as LUN 0, 1, …. Returns the URL of LUN 0."""
        port = port or free_port()
        self.rpc("iscsi_create_portal_group", tag=1, portals=[{"host": "127.0.0.1", "port": str(port)}])
        self.rpc("iscsi_create_initiator_group", tag=1, initiators=["ANY"], netmasks=["127.0.0.0/8"])
        luns = [{"lun_id": lun, "bdev_name": name} for lun, name in enumerate(bdevs)]
        maps = [{"pg_tag": 1, "ig_tag": 1}]
        self.rpc("iscsi_create_target_node", name=target, alias_name="", pg_ig_maps=maps, luns=luns, queue_depth=64,
                 disable_chap=True)
        return f"iscsi://127.0.0.1:{port}/{NODE_BASE}:{target}/0"


def receive(connection):
    """One JSON value from a connection."""
    data = b""
    while True:
        chunk = connection.recv(65536)
        data += chunk
        try:
            return json.loads(data)
        except ValueError:
            if not chunk:
                raise ConnectionError(f"the engine closed the connection after {data[:200]!r}") from None


def free_port():
    """A TCP port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
