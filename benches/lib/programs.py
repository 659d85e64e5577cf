"""Programs that make their own load and measure themselves: the ladder's rungs, SPDK's bdevperf, and fio."""

import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import time

import load
import machine
import targets

# Logical blocks and size of a device in memory. A null device has no memory, so it may be larger than any cache.
BLOCK, SIZE, NULL_SIZE = 512, 2**30, 2**37
PERCENTILES = {"50": "50.000000", "90": "90.000000", "99": "99.000000", "99.9": "99.900000", "99.99": "99.990000"}


class Program:
    """One such program. It runs once for each sample and spins on one CPU, if not said otherwise."""

    def __init__(self, name, binary, cpu):
        self.name, self.binary, self.cpu = name, binary, cpu
        if not (binary and shutil.which(str(binary))):
            raise targets.Unavailable(f"{binary} is no program")

    def runs(self, row):
        raise NotImplementedError

    def command(self, row, settings):
        raise NotImplementedError

    def parse(self, output, row):
        """`iops`, `busy_us` and percentiles from what it printed."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def measure(self, row, settings):
        output, shares = watched(self.command(row, settings), settings)
        numbers = self.parse(output, row)
        iops, percentiles = numbers["iops"], numbers.get("percentiles_us", {})
        if not iops:
            raise load.Stalled(f"{self.name} completed nothing")
        return {
            "iops": iops,
            "mb_per_second": iops * row.bytes / 1e6,
            "p50_us": percentiles.get("50"),
            "p99_us": percentiles.get("99"),
            "percentiles_us": percentiles,
            "generator_cpu": None,
            "generator_busy": numbers.get("client_busy"),
            "generator_user_us_per_io": None,
            "generator_system_us_per_io": None,
            "target_cpu_us_per_io": numbers.get("cpu_us", 1e6 / iops),
            "target_busy_us_per_io": numbers["busy_us"],
            "target_busy": numbers["busy_us"] * iops / 1e6,
            **shares,
        }


def watched(command, settings):
    """What a program printed, and who else used CPUs while it ran."""
    began, before, own = time.monotonic(), machine.Jiffies(), children_seconds()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, preexec_fn=machine.die_with_parent)
    try:
        if settings.realtime:
            machine.set_realtime(process.pid, True)
        output, errors = process.communicate(timeout=load.time_limit(settings.seconds, settings.warmup))
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise load.Failed(f"{command[0]} ended with {process.returncode}: {(errors or output).strip()[-2000:]}")
    wall, after, own = time.monotonic() - began, machine.Jiffies(), children_seconds() - own
    everything = after.all - before.all
    return output, {
        "foreign": max(0.0, (after.processes - before.processes - own) / wall),
        "steal": (after.steal - before.steal) / everything if everything else 0.0,
        "cpu_ceiling": machine.realtime_share() if settings.realtime else 1.0,
    }


def children_seconds():
    """CPU time of all programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Rung(Program):
    """A rung of the ladder."""

    def times(self, settings):
        return ["--time", settings.seconds, "--warmup", settings.warmup, "--json"]

    def parse(self, output, row):
        found = json.loads(output)["rows"][0]
        percentiles = {name[1:-3].replace("_", "."): value for name, value in found.items()
                       if re.fullmatch(r"p\d+(_\d+)?_us", name) and value is not None}
        client_ns = found["client_ns_per_io"]
        return {"iops": found["iops"], "busy_us": found["busy_ns_per_io"] / 1e3, "percentiles_us": percentiles,
                "client_busy": None if client_ns is None else client_ns * found["iops"] / 1e9}

    def version(self):
        run = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False)
        return run.stdout.strip().removeprefix("ladder ")


class Floor(Rung):
    """Bare sockets with the bytes and calls of a target. `store`: its size, if not that of a disk."""

    def __init__(self, binary, cpu, client_cpu, store=None):
        super().__init__("floor", binary, cpu)
        self.client_cpu, self.store = client_cpu, ["--store", store] if store else []

    def runs(self, row):
        return row.rw.startswith("rand")

    def command(self, row, settings):
        return [self.binary, "floor", "--rw", row.rw.removeprefix("rand"), "--bs", row.bytes, "--qd", row.depth,
                "--cores", f"{self.cpu},{self.client_cpu}", *self.store, *self.times(settings)]


class BlockLayer(Rung):
    """This engine's block devices under one reactor. `lent`: where a device lends its memory, so nothing is copied."""

    def __init__(self, binary, cpu, file=None, lent=False):
        super().__init__("isere, lent" if lent else "isere", binary, cpu)
        self.file, self.lent = file, lent

    def runs(self, row):
        return row.device == "malloc" or not self.lent

    def command(self, row, settings):
        device = {"null": "null", "malloc": f"malloc:{SIZE}", "file": f"uring:{self.file}"}[row.device]
        return [self.binary, "bdev", "--device", device, "--rw", row.rw, "--bs", row.bytes, "--qd", row.depth,
                "--core", self.cpu, "--block-size", BLOCK, *self.times(settings), *["--lend"] * self.lent]


class BareUring(Rung):
    """io_uring with nothing on it that spins for completions: the floor of the uring device."""

    def __init__(self, binary, cpu, file):
        super().__init__("bare io_uring", binary, cpu)
        self.file = file

    def runs(self, row):
        return row.device == "file"

    def command(self, row, settings):
        return [self.binary, "uring", "--path", self.file, "--rw", row.rw, "--bs", row.bytes, "--qd", row.depth,
                "--core", self.cpu, "--spin", *self.times(settings)]


class Bdevperf(Program):
    """SPDK's block layer under its own load. It prints no percentiles unless it also pays for a histogram."""

    def __init__(self, binary, cpu, directory, file=None):
        super().__init__("SPDK", binary, cpu)
        self.directory, self.file = pathlib.Path(directory), file

    def runs(self, row):
        return True

    def command(self, row, settings):
        memory = ["-s", SIZE // 2**20 + 1024]
        if machine.free_huge_bytes() < SIZE + 2**30:
            memory += ["--no-huge"]
        return [self.binary, "-c", self.configuration(row.device), "-m", f"[{self.cpu}]", "--no-pci", *memory,
                "-r", self.directory / "bdevperf.sock", "-q", row.depth, "-o", row.bytes, "-w", row.rw,
                "-t", settings.seconds]

    def configuration(self, device):
        """The path of a configuration with this device alone."""
        blocks = {"block_size": BLOCK, "num_blocks": (NULL_SIZE if device == "null" else SIZE) // BLOCK}
        method, params = {
            "null": ("bdev_null_create", blocks), "malloc": ("bdev_malloc_create", blocks),
            "file": ("bdev_uring_create", {"filename": str(self.file), "block_size": BLOCK}),
        }[device]
        def call(verb, name, **more):
            return {"method": verb, "params": {"name": name, **more}}
        calls = [call(method, "disk", **params)]
        if device == "malloc":
            # Memory that was given back has been touched: without that the first access to each page is a page fault,
            # and that is what would be measured.
            calls = [call(method, "touched", **params), call("bdev_malloc_delete", "touched"), *calls]
        path = self.directory / f"bdevperf-{device}.json"
        path.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": calls}]}))
        return path

    def parse(self, output, row):
        # Device, seconds, IOPS, MiB/s, failures and timeouts a second, and three latencies.
        found = re.search(r"^\s*disk\s*:((?:\s+[\d.]+){8})\s*$", output, re.MULTILINE)
        if not found:
            raise load.Failed(f"bdevperf printed no result: {output[-2000:]}")
        _, iops, _, failures = map(float, found[1].split()[:4])
        if failures:
            raise load.Failed(f"{failures} failed I/Os a second in bdevperf")
        return {"iops": iops, "busy_us": 1e6 / iops if iops else 0.0}

    def version(self):
        run = subprocess.run([self.binary, "-v"], capture_output=True, text=True, check=False)
        return (run.stdout + run.stderr).strip().removeprefix("SPDK ")


class Fio(Program):
    """fio's io_uring engine with registered files and buffers. It sleeps while it waits."""

    def __init__(self, cpu, file):
        super().__init__("fio", "fio", cpu)
        self.file = file

    def runs(self, row):
        return row.device == "file"

    def command(self, row, settings):
        return ["fio", "--name=peer", f"--filename={self.file}", "--ioengine=io_uring", "--direct=1", "--fixedbufs=1",
                "--registerfiles=1", "--thread", f"--rw={row.rw}", f"--bs={row.bytes}", f"--iodepth={row.depth}",
                "--norandommap", "--randrepeat=0", "--time_based", f"--runtime={settings.seconds}",
                f"--ramp_time={settings.warmup}", f"--cpus_allowed={self.cpu}", "--clat_percentiles=0",
                "--lat_percentiles=1", "--percentile_list=50:90:99:99.9:99.99", "--output-format=json"]

    def parse(self, output, row):
        job = json.loads(output[output.index("{"):])["jobs"][0]
        found = job["read" if row.rw.endswith("read") else "write"]
        if job["error"]:
            raise load.Failed(f"fio ended with error {job['error']}")
        share, at = (job["usr_cpu"] + job["sys_cpu"]) / 100, found["lat_ns"]["percentile"]
        cpu_us = share / found["iops"] * 1e6 if found["iops"] else 0.0
        return {"iops": found["iops"], "busy_us": cpu_us, "cpu_us": cpu_us,
                "percentiles_us": {name: at[key] / 1e3 for name, key in PERCENTILES.items()}}

    def version(self):
        return subprocess.run(["fio", "--version"], capture_output=True, text=True, check=False).stdout.strip()[4:]


def new_file(path):
    """A file of 1 GiB without holes, for direct I/O."""
    block = os.urandom(2**20)
    with open(path, "xb") as file:
        for _ in range(SIZE // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
    except OSError as problem:
        raise targets.Unavailable(f"no direct I/O on {path}: {problem}") from None
