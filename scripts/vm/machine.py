"""A virtual machine: boots the image of scripts/vm/image, runs shell scripts in it, and can lose its power.

The guest and the host share a directory, /rig in the guest. A script is run by writing it there and naming it on a
virtio port; what it printed is in the directory, too, and stays there as a log. Needs QEMU; emulates (TCG), so it
works wherever QEMU does, at about a twentieth of the speed.
"""

import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

GUEST = pathlib.Path(__file__).resolve().parent / "guest"
# Seconds a guest may take to boot. It takes 5 to 10; a machine under load takes longer.
BOOT_SECONDS = 120
MEMORY_MIB = 2048
# Lines of a log that are shown with an error.
TAIL = 40


class GuestError(Exception):
    """A script in a guest failed, took too long, or there is no guest any more."""


class Script:
    """A script that runs in a guest."""

    def __init__(self, machine, number, seconds):
        self.machine, self.number, self.seconds = machine, number, seconds
        self.deadline = time.monotonic() + seconds
        self.output = machine.rig / "jobs" / f"{number}.out"

    def end(self):
        """Waits until it has ended and returns what it printed. A status other than 0 is an error."""
        status = self.machine.status(self.number, self.deadline)
        output = self.output.read_text(errors="replace") if self.output.exists() else ""
        if status is None:
            raise GuestError(f"not done after {self.seconds} s; it printed\n{tail(output)}\n{self.machine.console()}")
        if status != 0:
            raise GuestError(f"status {status}; it printed\n{tail(output)}")
        return output


class Machine:
    """A running guest. A context manager: leaving it ends QEMU.

    `directory`: where its files and logs go. `networks`: what QEMU's -netdev takes, one of "user" (the host's loopback
    is 10.0.2.2) and "unix:PATH" (a cable to another guest; whoever is first listens). `capture`: a file for what
    the first network card sends and receives, in pcap format. `number`: different for each guest on one cable.
    """

    def __init__(self, image, directory, networks=("user",), capture=None, number=0):
        self.directory = pathlib.Path(directory)
        self.rig = self.directory / "rig"
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.rig / "jobs").mkdir(parents=True)
        shutil.copytree(GUEST, self.rig / "guest")
        self.received, self.replies, self.last = b"", {}, 0
        # A directory of its own: the path of a socket must be short.
        with tempfile.TemporaryDirectory(prefix="isere-") as place, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{place}/port")
            listener.listen()
            command = qemu(image, self.directory, f"{place}/port") + network_cards(networks, capture, number)
            with open(self.directory / "qemu.log", "wb") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            listener.settimeout(0.5)
            self.port = self.connect(listener)
        self.boot()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def connect(self, listener):
        """The guest's end of the port. QEMU connects before the guest boots."""
        while self.process.poll() is None:
            try:
                return listener.accept()[0]
            except TimeoutError:
                pass
        raise GuestError(f"QEMU ended: {(self.directory / 'qemu.log').read_text(errors='replace')}")

    def boot(self):
        """Waits for the agent to say that it is there."""
        try:
            if self.status(0, time.monotonic() + BOOT_SECONDS) is None:
                raise GuestError(f"the guest did not boot in {BOOT_SECONDS} s\n{self.console()}")
        except BaseException:
            self.cut()
            raise

    def begin(self, script, seconds=60):
        """Starts a script (bash, with guest/lib.sh) that may take so many seconds."""
        self.last += 1
        (self.rig / "jobs" / str(self.last)).write_text(script)
        try:
            self.port.sendall(f"{self.last}\n".encode())
        except OSError as error:
            raise GuestError(f"the guest is gone: {error}\n{self.console()}") from None
        return Script(self, self.last, seconds)

    def run(self, script, seconds=60):
        """Runs a script to its end and returns what it printed."""
        return self.begin(script, seconds).end()

    def status(self, number, deadline):
        """Waits for the status of a script; None if there is none in time."""
        while number not in self.replies:
            self.port.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                chunk = self.port.recv(4096)
            except TimeoutError:
                return None
            if not chunk:
                raise GuestError(f"the guest is gone\n{self.console()}")
            *lines, self.received = (self.received + chunk).split(b"\n")
            self.replies.update(tuple(map(int, line.split())) for line in lines)
        return self.replies.pop(number)

    def console(self):
        """The last lines of the kernel's console."""
        return tail((self.directory / "console.log").read_text(errors="replace"))

    def cut(self):
        """Cuts the power: nothing is flushed, nobody is told."""
        self.process.kill()
        self.process.wait()
        self.port.close()


def tail(text):
    return "\n".join(f"    {line}" for line in text.splitlines()[-TAIL:])


def qemu(image, directory, port):
    """QEMU's command line. The accelerator is named: a KVM that opens but cannot run a kernel would not fall back."""
    shared = "security_model=none"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
        "-machine", "q35,vmport=off", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB),
        "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd",
        "-append", "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off tsc=reliable",
        "-serial", f"file:{directory}/console.log",
        "-device", "virtio-serial-pci", "-chardev", f"socket,id=port,path={port}",
        "-device", "virtserialport,chardev=port,name=rig",
        "-fsdev", f"local,id=system,path={image}/system,readonly=on,{shared}",
        "-device", "virtio-9p-pci,fsdev=system,mount_tag=system",
        "-fsdev", f"local,id=rig,path={directory}/rig,{shared}",
        "-device", "virtio-9p-pci,fsdev=rig,mount_tag=rig",
    ]


def network_cards(networks, capture, number):
    """The part of QEMU's command line that is about the network."""
    arguments = []
    for card, network in enumerate(networks):
        if network.startswith("unix:"):
            path = network.removeprefix("unix:")
            server = "off" if pathlib.Path(path).exists() else "on"
            network = f"stream,server={server},addr.type=unix,addr.path={path}"
        arguments += ["-netdev", f"{network},id=net{card}", "-device",
                      f"virtio-net-pci,netdev=net{card},mac=52:54:00:00:{card:02x}:{number:02x},romfile="]
    if capture:
        arguments += ["-object", f"filter-dump,id=dump,netdev=net0,maxlen=65535,file={capture}"]
    return arguments
