"""What the machine is, and how quiet it was."""

import ctypes
import os
import pathlib
import platform
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")

# More than this is a machine that is not quiet: CPU time the hypervisor gave to others, of all CPUs; CPU time of other
# processes, in CPUs; and the load average per CPU, which remembers the last minute, earlier runs included.
MAX_STEAL = 0.01
MAX_FOREIGN = 0.10
MAX_LOAD_PER_CPU = 0.5


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def memory_available():
    """Bytes that can be had without swapping."""
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def free_huge_bytes():
    """Bytes in free huge pages of the default size."""
    fields = dict(line.split()[:2] for line in read("/proc/meminfo").splitlines())
    return int(fields.get("HugePages_Free:", 0)) * int(fields.get("Hugepagesize:", 0)) * 1024


class Jiffies:
    """CPU time of the whole machine so far, in seconds."""

    def __init__(self):
        user, nice, system, idle, iowait, irq, softirq, steal = (int(n) / TICK for n in self._first_line()[1:9])
        self.processes = user + nice + system
        self.steal = steal
        self.all = self.processes + idle + iowait + irq + softirq + steal

    @staticmethod
    def _first_line():
        return read("/proc/stat").splitlines()[0].split()


def used_before(seconds=1.0):
    """How many CPUs are in use while nothing of ours runs, and the share of steal."""
    before = Jiffies()
    time.sleep(seconds)
    after = Jiffies()
    everything = after.all - before.all
    steal = (after.steal - before.steal) / everything if everything else 0.0
    return (after.processes - before.processes) / seconds, steal


def process_seconds(pid):
    """User and system time of a process, all its threads, in seconds."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    # Fields 14 and 15 of proc_pid_stat(5); the third is the first behind the name.
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def threads(pid):
    """The ids of a process's threads."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def thread_named(pid, name):
    """The id of the thread of this name."""
    for tid in threads(pid):
        if read(f"/proc/{pid}/task/{tid}/comm").strip() == name:
            return tid
    raise LookupError(f"process {pid} has no thread {name}")


def set_realtime(pid, on):
    """Puts all threads of a process under SCHED_RR, or back under SCHED_OTHER."""
    policy, priority = (os.SCHED_RR, 1) if on else (os.SCHED_OTHER, 0)
    for tid in threads(pid):
        try:
            os.sched_setscheduler(tid, policy, os.sched_param(priority))
        except ProcessLookupError:
            pass


def realtime_share():
    """Of a CPU, what the kernel leaves to real-time tasks (sched_rt_runtime_us)."""
    runtime, period = (int(read(f"/proc/sys/kernel/sched_rt_{name}_us") or -1) for name in ("runtime", "period"))
    return 1.0 if runtime < 0 or period <= 0 else runtime / period


def die_with_parent():
    """For `preexec_fn`: the kernel ends the child when this script is gone, even when it was killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def refuse_huge_pages():
    """Keeps this process and everything it starts from having huge pages, transparent ones included. Reserved ones are
    kept out of reach by each program's own option."""
    pr_set_thp_disable = 41
    if ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0) != 0:
        raise SystemExit("this kernel does not let a process do without transparent huge pages")


def end_on_signals():
    """Makes SIGTERM and SIGHUP unwind, so that everything started is stopped."""
    def end(number, _):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def cpu_model():
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit():
    """The commit of the source tree, marked when there are changes."""
    def git(*arguments):
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def banner():
    """What has to stand beside every number."""
    used, steal = used_before()
    load = os.getloadavg()[0]
    cpus = len(os.sched_getaffinity(0))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_model(),
        "cpus": cpus,
        "virtual": " hypervisor" in read("/proc/cpuinfo"),
        "kernel": platform.release(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control").strip() or "unknown",
        "load_before": load,
        "used_before": used,
        "quiet": used <= MAX_FOREIGN and steal <= MAX_STEAL,
        "commit": commit(),
    }


def describe(facts):
    """The banner in words."""
    kind = "a virtual machine" if facts["virtual"] else "a machine"
    return (f"Measured {facts['date']} at commit {facts['commit']} on {kind} with {facts['cpus']} CPUs "
            f"({facts['cpu']}), Linux {facts['kernel']}, TCP congestion control {facts['congestion_control']}, load "
            f"average {facts['load_before']:.2f} and {facts['used_before']:.2f} CPUs in use before.")


def warning(facts):
    """What to say before measuring, or nothing."""
    if not facts["quiet"]:
        return f"WARNING: others use {facts['used_before']:.2f} CPUs: this machine is not quiet"
    if facts["load_before"] > MAX_LOAD_PER_CPU * facts["cpus"]:
        return f"WARNING: the load average is {facts['load_before']:.2f}; it may be that of an earlier run"
    return ""


def two_cpus(target, initiator):
    """The CPU for the target and the one for the load; the first two unless they were named."""
    allowed = sorted(os.sched_getaffinity(0))
    target = allowed[0] if target is None else target
    others = [cpu for cpu in allowed if cpu != target]
    if initiator is None:
        initiator = others[0] if others else target
    if target == initiator or not {target, initiator} <= set(allowed):
        raise SystemExit("two CPUs are needed, one for the target and one for the load: "
                         "sharing one measures the scheduler")
    return target, initiator
