"""Runs of the load generator, `isere perf`, with a look at the target meanwhile."""

import contextlib
import json
import subprocess
import sys
import time

import machine

# Of a run's measured time, how much is left out at each end when the target's CPU time is taken: the generator's
# start-up is not known exactly.
MARGIN = 0.1
# A verification must have compared this many blocks, or it says nothing.
MIN_VERIFIED_BLOCKS = 64
# How long it may take them: on a crowded machine few blocks are met twice in a second.
VERIFY_SECONDS = (1, 4, 16)
FILL_SECONDS = (2, 4, 8, 16, 32, 64)
# SCHED_RR on every CPU leaves the rest of the machine next to nothing: only for so many seconds in a row.
MAX_REALTIME_SECONDS = 10


class Failed(Exception):
    """The load generator ended with an error, or counted one."""


class Stalled(Failed):
    """A run in which nothing was completed: the target, or on a crowded machine the scheduler."""


class Row:
    """One workload; `device` is the kind of device where there are several, `max_rounds` how often it is enough."""

    def __init__(self, title, rw, block, depth, device="", max_rounds=sys.maxsize):
        self.title, self.rw, self.block, self.depth, self.device = title, rw, block, depth, device
        self.max_rounds = max_rounds

    @property
    def key(self):
        return f"{self.device}-{self.rw}-{self.block}-qd{self.depth}".lstrip("-")

    @property
    def bytes(self):
        return int(self.block.removesuffix("K")) * 1024

    def arguments(self):
        return ["--rw", self.rw, "--bs", self.block, "--qd", str(self.depth)]


def start(isere, url, cpu, row, seconds, warmup, *more):
    """Starts a run; its standard output will be one JSON document."""
    command = [str(isere), "perf", url, *row.arguments(), "--time", str(seconds), "--warmup", str(warmup),
               "--cores", str(cpu), "--json", *more]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, preexec_fn=machine.die_with_parent)


def finish(process, limit):
    """Waits for a run and returns its report."""
    try:
        output, errors = process.communicate(timeout=limit)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise Failed((errors.strip() or output.strip())[-2000:])
    report = json.loads(output)
    if report["errors"]:
        raise Failed(f"{report['errors']} failed commands: {report['error_samples']}")
    return report


def run(isere, target, cpu, row, seconds, *more, warmup=0, realtime=False):
    """One run from beginning to end."""
    load = start(isere, target.url, cpu, row, seconds, warmup, *more)
    with preferred(target, load, realtime):
        return finish(load, time_limit(seconds, warmup))


@contextlib.contextmanager
def preferred(target, load, realtime):
    """Puts both sides under SCHED_RR, if that is wanted, until the run is over. None of it is left running."""
    try:
        if realtime:
            machine.set_realtime(target.pid, True)
            machine.set_realtime(load.pid, True)
        yield
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
        if realtime:
            machine.set_realtime(target.pid, False)


def time_limit(seconds, warmup):
    """What a run may take in all: ending and logging in are slow on a crowded machine."""
    return seconds + warmup + 60


class Watch:
    """CPU time between two moments: of the target, and of everybody."""

    def __init__(self, target, load):
        self.target, self.load = target, load
        self.at = time.monotonic()
        self.cpu = machine.process_seconds(target.pid)
        self.busy = target.busy_seconds()
        self.own = self.cpu + machine.process_seconds(load.pid)
        self.jiffies = machine.Jiffies()

    def since(self, before):
        """Shares since then: 1.0 is one CPU all the time; steal is a share of all CPUs."""
        wall = self.at - before.at
        foreign = (self.jiffies.processes - before.jiffies.processes) - (self.own - before.own)
        everything = self.jiffies.all - before.jiffies.all
        return {
            "target_cpu": (self.cpu - before.cpu) / wall,
            "target_busy": (self.busy - before.busy) / wall,
            "foreign": max(0.0, foreign / wall),
            "steal": (self.jiffies.steal - before.jiffies.steal) / everything if everything else 0.0,
        }


def measure(isere, target, cpu, row, seconds, warmup, realtime=False):
    """One run, and what it cost the target. `realtime` puts both under SCHED_RR until the run is over."""
    load = start(isere, target.url, cpu, row, seconds, warmup)
    began = time.monotonic()
    with preferred(target, load, realtime):
        sleep_until(began + warmup + MARGIN * seconds)
        before = Watch(target, load)
        sleep_until(began + warmup + (1 - MARGIN) * seconds)
        shares = Watch(target, load).since(before)
        report = finish(load, time_limit(seconds, warmup))
    shares["cpu_ceiling"] = machine.realtime_share() if realtime else 1.0
    return sample(report, shares)


def sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))


def sample(report, shares):
    """The numbers of one run that go into the tables."""
    direction = max(report["read"], report["write"], key=lambda d: d["ios"])
    iops = report["iops"]
    if not iops:
        raise Stalled("not one command was completed")
    generator = (report["cpu_user_ns"] + report["cpu_system_ns"]) / report["elapsed_ns"]
    percentiles = {name[1:]: value / 1e3 for name, value in direction["latency_ns"].items() if name[0] == "p"}
    return {
        "iops": iops,
        "mb_per_second": report["bytes_per_second"] / 1e6,
        "p50_us": percentiles["50"],
        "p99_us": percentiles["99"],
        "percentiles_us": percentiles,
        "generator_cpu": generator,
        "generator_busy": report["busy_ns"] / report["elapsed_ns"],
        "generator_user_us_per_io": report["cpu_user_ns"] / report["elapsed_ns"] / iops * 1e6,
        "generator_system_us_per_io": report["cpu_system_ns"] / report["elapsed_ns"] / iops * 1e6,
        "target_cpu_us_per_io": shares["target_cpu"] / iops * 1e6,
        "target_busy_us_per_io": shares["target_busy"] / iops * 1e6,
        **shares,
    }


def fill(isere, target, cpu, size, realtime=False):
    """Writes the whole disk, so that every read finds memory that is there."""
    row = Row("fill", "write", "128K", 8)
    for seconds in FILL_SECONDS:
        # A sequential run begins at the beginning: only one that reaches the end will do.
        report = run(isere, target, cpu, row, seconds, realtime=realtime and seconds <= MAX_REALTIME_SECONDS)
        if report["write"]["ios"] * row.bytes >= size:
            return
    raise Failed(f"{target.name}: writing {size} bytes once takes too long")


def verify(isere, target, cpu, realtime=False):
    """Writes and reads stamped blocks; a target that lies ends the script."""
    for block, depth in (("4K", 32), ("128K", 8)):
        row, compared = Row("verify", "randrw", block, depth), 0
        for seconds in VERIFY_SECONDS:
            report = run(isere, target, cpu, row, seconds, "--verify", warmup=1,
                         realtime=realtime and seconds < MAX_REALTIME_SECONDS)
            compared += report["verified_blocks"]
            if compared >= MIN_VERIFIED_BLOCKS:
                break
        else:
            raise Failed(f"{target.name}: only {compared} blocks came to be compared")
