"""The targets that are measured: each is started, provisioned, paused and ended here. All listen on loopback only."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import machine

NODE_BASE = "iqn.2016-06.io.spdk"
BLOCK = 512
START_SECONDS = 20
# Commands a session may have in flight: no less than the deepest queue, or the window would be what is measured.
QUEUE_DEPTH = 128


class Unavailable(Exception):
    """This target cannot be measured here; the text says why."""


def free_port():
    """A TCP port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def built(program):
    """Where cargo puts a release build."""
    target_dir = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", machine.ROOT / "target"))
    return target_dir / "release" / program


def add_isere_argument(parser):
    """The option for the program under test."""
    parser.add_argument("--isere", type=pathlib.Path, default=built("isere"), metavar="PATH",
                        help="the program under test [default: cargo's release build]")


def check_isere(path):
    """Ends the script when there is no such program."""
    if not os.access(path, os.X_OK):
        raise SystemExit(f"{path} is not there: cargo build --release -p isere, or name one with --isere")
    return path.resolve()


class Target:
    """A process that serves one disk. `directory` is private to it; `cpu` is the one it is bound to."""

    name = ""

    def __init__(self, directory, cpu):
        self.directory = pathlib.Path(directory) / self.name
        self.directory.mkdir()
        self.cpu = cpu
        self.port = free_port()
        self.process = None
        self.url = ""

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, command, **options):
        log = open(self.directory / "log", "ab")
        with log:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=machine.die_with_parent, **options)

    def wait_until(self, ready, what):
        """Waits until `ready` returns without OSError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return ready()
            except OSError:
                time.sleep(0.05)
        raise Unavailable(f"{self.name} did not start ({what}):\n{self.tail()}")

    def tail(self, lines=8):
        """The end of its log."""
        return "\n".join("  " + line for line in machine.read(self.directory / "log").splitlines()[-lines:])

    def check_alive(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended (status {self.process.returncode}):\n{self.tail()}")

    def pause(self):
        """Keeps it from using any CPU while another is measured: a polled target never sleeps by itself."""
        self.check_alive()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.check_alive()
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def busy_seconds(self):
        """CPU time spent on work so far. A target that sleeps when idle spends none on anything else."""
        return machine.process_seconds(self.pid)


class RpcTarget(Target):
    """A target with SPDK's JSON-RPC: this engine, or SPDK."""

    def __init__(self, directory, cpu, binary):
        super().__init__(directory, cpu)
        self.binary = binary
        self.socket = self.directory / "rpc.sock"

    def rpc(self, method, **params):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        if not params:
            del request["params"]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(request).encode())
            answer = receive_json(connection)
        if "error" in answer:
            raise Unavailable(f"{self.name} refused {method}: {answer['error']['message']}")
        return answer["result"]

    def initialise(self):
        """Waits for a process started with --wait-for-rpc, and raises its queue depth, which is 64 otherwise."""
        self.wait_until(lambda: self.rpc("spdk_get_version"), "no answer on the RPC socket")
        self.rpc("iscsi_set_options", max_queue_depth=QUEUE_DEPTH)
        self.rpc("framework_start_init")
        self.rpc("framework_wait_init")

    def provision(self, luns):
        """Serves these devices as LUN 0, 1, …, without CHAP or digests."""
        self.rpc("iscsi_create_portal_group", tag=1, portals=[{"host": "127.0.0.1", "port": str(self.port)}])
        self.rpc("iscsi_create_initiator_group", tag=1, initiators=["ANY"], netmasks=["127.0.0.0/8"])
        self.rpc("iscsi_create_target_node", name="disk1", alias_name="disk1", queue_depth=QUEUE_DEPTH,
                 disable_chap=True, pg_ig_maps=[{"pg_tag": 1, "ig_tag": 1}],
                 luns=[{"lun_id": lun, "bdev_name": bdev} for lun, bdev in enumerate(luns)])
        self.url = self.lun_url(0)

    def lun_url(self, lun):
        return f"iscsi://127.0.0.1:{self.port}/{NODE_BASE}:disk1/{lun}"

    def malloc(self, name, size):
        self.rpc("bdev_malloc_create", name=name, num_blocks=size // BLOCK, block_size=BLOCK)

    def busy_seconds(self):
        """What its reactors say: a reactor that polls is on its CPU all the time, with or without work."""
        reactors = self.rpc("framework_get_reactors")
        return sum(reactor["busy"] for reactor in reactors["reactors"]) / reactors["tick_rate"]


class Isere(RpcTarget):
    name = "isere"

    def start(self, *arguments):
        command = [self.binary, "serve", "--cores", self.cpu, "--rpc-socket", self.socket, "--wait-for-rpc"]
        self.spawn([*command, *arguments])
        self.initialise()

    def serve_disk(self, size):
        self.start()
        self.malloc("Malloc0", size)
        self.provision(["Malloc0"])

    def version(self):
        run = subprocess.run([self.binary, "version"], capture_output=True, text=True, check=False)
        return run.stdout.strip().removeprefix("isere ")

    def reactor_thread(self):
        """Thread id of the only reactor."""
        return machine.thread_named(self.pid, f"reactor-{self.cpu}")


class Metered(Isere):
    """This engine with its Prometheus counters."""

    def start(self, *arguments):
        self.metrics_port = free_port()
        super().start("--metrics", self.metrics_port, *arguments)

    def metrics_text(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        """All counters, those of all cores and devices summed up by name."""
        sums = {}
        for line in self.metrics_text().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums


class Spdk(RpcTarget):
    name = "SPDK"

    def serve_disk(self, size):
        if not os.access(self.binary, os.X_OK):
            raise Unavailable(f"{self.binary} is no program")
        # The disk, and about as much again for buffers.
        memory = ["-s", str(size // 2**20 + 1024)]
        if machine.free_huge_bytes() < size + 2**30:
            memory += ["--no-huge"]
        self.spawn([self.binary, "-m", f"[{self.cpu}]", "-r", self.socket, "--no-pci", "--wait-for-rpc", *memory])
        self.initialise()
        self.malloc("Malloc0", size)
        self.provision(["Malloc0"])

    def version(self):
        return self.rpc("spdk_get_version")["version"].removeprefix("SPDK ")


class Tgt(Target):
    name = "tgt"
    NODE = "iqn.2016-06.io.spdk:tgt"

    def __init__(self, directory, cpu, parameters=()):
        super().__init__(directory, cpu)
        self.parameters = parameters
        # tgtd and tgtadm find each other by this; without it they would meet other users' at a fixed place.
        self.environment = dict(os.environ, TGT_IPC_SOCKET=str(self.directory / "ipc"))

    def serve_disk(self, size):
        for program in ("tgtd", "tgtadm", "taskset"):
            if not shutil.which(program, path=self.path()):
                raise Unavailable(f"{program} is not installed (Debian: apt-get install tgt util-linux)")
        portal = f"portal=127.0.0.1:{self.port}"
        self.spawn(["taskset", "-c", self.cpu, "tgtd", "-f", "--iscsi", portal], env=self.environment)
        self.wait_until(lambda: self.admin("--op", "show", "--mode", "target"), "no answer to tgtadm")
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", self.NODE)
        for name, value in self.parameters:
            self.admin("--op", "update", "--mode", "target", "--tid", "1", "--name", name, "--value", value)
        self.add_disk(size)
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        self.url = f"iscsi://127.0.0.1:{self.port}/{self.NODE}/1"

    def add_disk(self, size):
        """LUN 1 (0 is tgt's controller): a file in memory, which goes with the process, whatever ends it."""
        file = tmpfs_file(size)
        try:
            self.admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--bstype", "rdwr",
                       "-b", file)
        finally:
            os.unlink(file)

    def path(self):
        # sbin is not in everybody's path.
        return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

    def admin(self, *arguments):
        environment = dict(self.environment, PATH=self.path())
        run = subprocess.run(["tgtadm", "--lld", "iscsi", *map(str, arguments)], env=environment, text=True,
                             capture_output=True, timeout=20, check=False)
        if run.returncode != 0:
            raise OSError(f"tgtadm {' '.join(map(str, arguments))}: {run.stderr.strip()}")
        return run.stdout

    def version(self):
        return subprocess.run(["tgtd", "-V"], env=dict(os.environ, PATH=self.path()), capture_output=True, text=True,
                              check=False).stdout.strip() or "unknown"


def tmpfs_file(size):
    """The path of a new sparse file on a tmpfs with room for it."""
    for line in machine.read("/proc/mounts").splitlines():
        _, place, kind = line.split()[:3]
        if kind != "tmpfs" or not os.access(place, os.W_OK):
            continue
        room = os.statvfs(place)
        if room.f_bavail * room.f_frsize > size + 64 * 2**20:
            path = pathlib.Path(place) / f"isere-bench-{os.getpid()}"
            with open(path, "xb") as file:
                file.truncate(size)
            return path
    raise Unavailable(f"no tmpfs has {size // 2**20} MiB free for tgt's disk")


def receive_json(connection):
    """One JSON value from a connection."""
    data = b""
    while True:
        chunk = connection.recv(65536)
        data += chunk
        try:
            return json.loads(data)
        except ValueError:
            if not chunk:
                raise ConnectionError(f"closed after {data[:200]!r}") from None
