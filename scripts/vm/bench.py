"""What all scenarios share: an image, a directory, steps that are told about, and an eye on the guests' kernel logs."""

import contextlib
import pathlib
import re
import shutil
import tempfile
import time

from engines import GuestEngine, HostEngine
from machine import GuestError, Machine

# Lines of a kernel log that are wrong whatever is tested.
BROKEN = re.compile(r"BUG:|Oops|WARNING:|Call Trace|general protection|refcount_t|corruption|blocked for more than|"
                    r"Kernel panic|EXT4-fs error|Buffer I/O error|lost async page write")
# Lines about what is tested that speak of trouble. A step that makes trouble says what it expects of them.
SUSPECT = re.compile(r"(?=.*\b(?:iser|isert|siw\w*|rxe\w*|rdma\w*|iscsi|connection\d+:\d+|session\d+|sd \d+|I/O)\b)"
                     r"(?=.*(?:error|fail|time[d-]* ?out|abort|reset|terminat|unexpected|invalid|recovery|reject))",
                     re.IGNORECASE)
HARMLESS = re.compile(r"iwpm_register_pid|speed is unknown|siw: module verification failed")
# What the initiator and its transport say when they lose a connection and get it back. What they must not lose is what
# the disk above them was asked to do: a line about that is never expected.
LOST_CONNECTION = re.compile(r"detected conn error|ping timeout|Power-on or device reset|\b(?:iser|siw\w*|rxe\w*): ",
                             re.IGNORECASE)
# The target closes after its Logout Response (RFC 7145, 5.2.3). Where the kernel's iWARP sees the close before its iSER
# saw the response, iSER tries to post that message's buffer again on a queue pair that has ended, and says so.
CLOSED_BY_LOGOUT = re.compile(r"iser_post_recvm: ib_post_recv failed ret=-107")

# How long a capture in a guest may last.
CAPTURE_SECONDS = 3600


class CheckError(Exception):
    """Something is not as it must be."""


def require(condition, message):
    if not condition:
        raise CheckError(message)


def kernel_log(guest):
    """What a guest's kernel has logged since this was asked last. All of it is in a file, too."""
    log = guest.run("dmesg --read-clear", 20)
    with open(guest.directory / "kernel.log", "a") as file:
        file.write(log)
    return log


def end_capture(guest, capture, pcap):
    """Ends a capture that runs in a guest, and fetches it."""
    try:
        guest.run("kill $(pidof tcpdump)")
        capture.end()
        shutil.copyfile(guest.rig / "pcap", pcap)
    except GuestError as error:
        print(f"  no capture: {error}")


class Bench:
    """One scenario: its directory, its guests, its engines. A context manager that ends them all."""

    def __init__(self, name, options):
        self.options = options
        self.directory = pathlib.Path(options.directory) / name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.ends = contextlib.ExitStack()
        self.sockets = self.ends.enter_context(tempfile.TemporaryDirectory(prefix="isere-"))
        self.guests, self.booted = [], 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            for guest in self.guests:
                with contextlib.suppress(GuestError):
                    kernel_log(guest)
        self.ends.close()

    @contextlib.contextmanager
    def step(self, text, expect=None, allow=None):
        """Something that is checked. `expect` matches lines that the kernel may log here, and must log somewhere;
        `allow` matches such as it may log or not."""
        begun = time.monotonic()
        try:
            yield
            self.check_kernel_logs(expect, allow)
        except Exception:
            print(f"  FAILED  {text}", flush=True)
            raise
        print(f"  {time.monotonic() - begun:5.1f} s  {text}", flush=True)

    def guest(self, networks=("user",)):
        """Boots a machine. What the first one sends is captured if that was asked for."""
        number = self.booted
        self.booted += 1
        pcap = None if number else self.options.pcap
        with self.step("a guest boots Debian's kernel"):
            machine = self.ends.enter_context(Machine(self.options.image, self.directory / f"guest{number}", networks,
                                                      pcap if networks else None, number))
            machine.run("dmesg --clear")
            if pcap and not networks:
                self.ends.callback(end_capture, machine, machine.begin("capture lo", CAPTURE_SECONDS), pcap)
        self.guests.append(machine)
        return machine

    def power_cut(self, guest):
        """Ends a guest without telling anybody in it."""
        guest.cut()
        self.guests.remove(guest)

    def host_engine(self, **portal):
        """An engine on this machine, whose portal has these fields beside its address."""
        return self.ends.enter_context(HostEngine(self.directory, **portal))

    def guest_engine(self, guest, address, **portal):
        """An engine in a guest, at an address there."""
        return GuestEngine(guest, self.options.engine, address, **portal)

    def check_kernel_logs(self, expect, allow):
        found = []
        for guest in self.guests:
            log = kernel_log(guest)
            for line in log.splitlines():
                if BROKEN.search(line):
                    raise CheckError(f"the guest's kernel says:\n{log}")
                if SUSPECT.search(line) and not HARMLESS.search(line):
                    found.append(line)
        passed = [pattern for pattern in (expect, allow) if pattern]
        strange = [line for line in found if not any(pattern.search(line) for pattern in passed)]
        require(not strange, "the guest's kernel says:\n" + "\n".join(strange))
        require(found or not expect, f"nothing in the guest's kernel log matches {expect and expect.pattern}")
