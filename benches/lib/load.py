"""Runs of the load generator, `isere perf`, with a look at the target meanwhile."""

import json
import subprocess
import time

import machine

# Of a run's measured time, how much is left out at each end when the target's CPU time is taken: the generator's
# start-up is not known exactly.
MARGIN = 0.1
# A verification must have compared this many blocks, or it says nothing.
MIN_VERIFIED_BLOCKS = 64


class Failed(Exception):
    """The load generator ended with an error, or counted one."""


class Row:
    """One workload."""

    def __init__(self, title, rw, block, depth):
        self.title, self.rw, self.block, self.depth = title, rw, block, depth

    @property
    def key(self):
        return f"{self.rw}-{self.block}-qd{self.depth}"

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


def run(isere, url, cpu, row, seconds, warmup, *more):
    """One run from beginning to end."""
    return finish(start(isere, url, cpu, row, seconds, warmup, *more), time_limit(seconds, warmup))


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
    try:
        if realtime:
            machine.set_realtime(target.pid, True)
            machine.set_realtime(load.pid, True)
        sleep_until(began + warmup + MARGIN * seconds)
        before = Watch(target, load)
        sleep_until(began + warmup + (1 - MARGIN) * seconds)
        shares = Watch(target, load).since(before)
        report = finish(load, time_limit(seconds, warmup))
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
        if realtime:
            machine.set_realtime(target.pid, False)
    shares["cpu_ceiling"] = machine.realtime_share() if realtime else 1.0
    return sample(report, shares)


def sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))


def sample(report, shares):
    """The numbers of one run that go into the tables."""
    direction = max(report["read"], report["write"], key=lambda d: d["ios"])
    iops = report["iops"]
    if not iops:
        raise Failed("not one command was completed")
    generator = (report["cpu_user_ns"] + report["cpu_system_ns"]) / report["elapsed_ns"]
    return {
        "iops": iops,
        "mb_per_second": report["bytes_per_second"] / 1e6,
        "p50_us": direction["latency_ns"]["p50"] / 1e3,
        "p99_us": direction["latency_ns"]["p99"] / 1e3,
        "generator_cpu": generator,
        "target_cpu_us_per_io": shares["target_cpu"] / iops * 1e6,
        "target_busy_us_per_io": shares["target_busy"] / iops * 1e6,
        **shares,
    }


def fill(isere, target, cpu, size):
    """Writes the whole disk, so that every read finds memory that is there."""
    seconds, written = 2, 0
    row = Row("fill", "write", "128K", 8)
    while written < size:
        # A sequential run begins at the beginning: only one that reaches the end will do.
        report = run(isere, target.url, cpu, row, seconds, 0)
        written = report["write"]["ios"] * 128 * 1024
        seconds *= 2
        if seconds > 120:
            raise Failed(f"writing {size} bytes once takes too long")


def verify(isere, target, cpu):
    """Writes and reads stamped blocks; a target that lies ends the script. Returns how many blocks were compared."""
    compared = 0
    for block, depth in (("4K", 32), ("128K", 8)):
        report = run(isere, target.url, cpu, Row("verify", "randrw", block, depth), 1, 1, "--verify")
        if report["verified_blocks"] < MIN_VERIFIED_BLOCKS:
            raise Failed(f"only {report['verified_blocks']} blocks came to be compared")
        compared += report["verified_blocks"]
    return compared
