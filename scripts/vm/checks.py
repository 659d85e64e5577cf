"""What is checked between an initiator in a guest and an engine, wherever that runs."""

import re
import time

from bench import CLOSED_BY_LOGOUT, LOST_CONNECTION, require
from engines import BLOCK, DISK_MIB, TARGET


def wait(what, seconds, condition):
    """Waits until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        require(time.monotonic() < deadline, f"waited {seconds} s in vain for {what}")
        time.sleep(0.1)


class Session:
    """What a guest's initiator has with an engine: one session or several of the same target."""

    def __init__(self, bench, guest, engine, transport):
        self.bench, self.guest, self.engine, self.transport = bench, guest, engine, transport

    def discover(self):
        with self.bench.step(f"discovery over {self.transport}", allow=CLOSED_BY_LOGOUT):
            interface = "iser" if self.transport == "iser" else "default"
            found = self.guest.run(f"iscsiadm -m discovery -t st -p {self.engine.portal} -I {interface}")
            expected = f"{self.engine.discovered},1 {TARGET}\n"
            require(found == expected, f"expected {expected}, found {found}")
            self.guest.run("iscsiadm -m node -o delete")

    def log_in(self, sessions=1, *settings):
        """Logs in with settings of the node record, each KEY=VALUE."""
        told = ", ".join([f"login over {self.transport}", *[f"{sessions} sessions"] * (sessions > 1), *settings])
        with self.bench.step(told):
            arguments = (TARGET, self.engine.portal, self.transport, sessions, *settings)
            self.guest.run(f"login {' '.join(map(str, arguments))}")
            shown = self.guest.run("iscsiadm -m session")
            require(len(re.findall(rf"^{self.transport}: ", shown, re.MULTILINE)) == sessions, f"sessions:\n{shown}")
            self.check_connections(sessions)

    def log_out(self):
        with self.bench.step("logout", allow=CLOSED_BY_LOGOUT):
            self.guest.run("logout")
            wait("the engine to see the end of all sessions", 10, lambda: not self.engine.rpc("iscsi_get_connections"))

    def check_connections(self, number):
        """The engine has as many connections as the initiator, of the same kind, as soon as earlier ones have ended."""
        wait(f"{number} connections", 10, lambda: len(self.engine.rpc("iscsi_get_connections")) == number)
        connections = self.engine.rpc("iscsi_get_connections")
        for connection in connections:
            require(connection.get("transport", "tcp") == self.transport, f"not {self.transport}: {connection}")

    def inspect(self):
        with self.bench.step("INQUIRY, VPD pages, capacity, LUNs"):
            shown = self.guest.run("""
                disk=$(disks)
                sg_turs "$disk"
                for ask in sg_inq 'sg_vpd -p di' 'sg_vpd -p bl' 'sg_vpd -p lbpv' 'sg_readcap -l' sg_luns sg_modes; do
                    $ask "$disk" || die "$ask failed"
                done""")
            for expected in ("ISERE", TARGET, f"Number of logical blocks={(DISK_MIB << 20) // BLOCK}",
                             f"Logical block length={BLOCK} bytes", "Lun list length = 8"):
                require(expected in shown, f"no {expected!r} in\n{shown}")

    def file_system(self, mib=16):
        """Makes one and fills it. Leaves it unmounted, with the files' checksums in /rig/sums."""
        with self.bench.step(f"ext4: {mib} MiB in files written, read back, checked by fsck"):
            self.guest.run(f"""
                disk=$(disks)
                mkfs.ext4 -q -F "$disk"
                mount "$disk" /mnt
                mkdir /mnt/many
                for file in {{1..50}}; do echo "$file" >"/mnt/many/$file"; done
                dd if=/dev/urandom of=/mnt/large bs=1M count={mib} status=none
                (cd /mnt && sha256sum large many/*) >/rig/sums
                umount /mnt""", 120)
            self.read_file_system()

    def compare_file_system(self):
        with self.bench.step(f"over {self.transport}, the files are what they were"):
            self.read_file_system()

    def read_file_system(self):
        self.guest.run("""
            disk=$(disks)
            echo 3 >/proc/sys/vm/drop_caches
            fsck.ext4 -fn "$disk"
            mount -o ro "$disk" /mnt
            (cd /mnt && sha256sum --quiet -c /rig/sums)
            umount /mnt""", 120)

    def verify(self, text, arguments):
        with self.bench.step(f"fio verifies {text}"):
            self.guest.run(f"verify {arguments}", 180)

    def load_iser(self, parameter=""):
        """Loads the kernel's iSER anew."""
        self.guest.run(f"modprobe -r ib_iser; modprobe ib_iser {parameter}")
        if parameter:
            print(f"   (ib_iser {parameter})")

    def large_requests(self):
        """Requests as large as the device can map."""
        size = int(self.guest.run("""
            queue=/sys/block/$(basename "$(disks)")/queue
            tee "$queue/max_sectors_kb" <"$queue/max_hw_sectors_kb"
            """))
        require(size > 512, f"the kernel's limit is still {size} KiB")
        self.verify(f"{size} KiB, 4 at a time", f"--bs={size}k --size={12 * size}k --iodepth=4")

    def trouble(self, text, make, mend):
        """Something happens to the connection in the middle of writes; all must be written in the end."""
        with self.bench.step(text, LOST_CONNECTION):
            before = self.writes()
            load = self.guest.begin("verify --bs=4k --size=12m --iodepth=8", 180)
            wait("fio to write", 60, lambda: self.writes() > before + 500)
            make()
            mend()
            wait("the session to recover", 60, lambda: self.state() == "LOGGED_IN")
            load.end()
            wait("the old connection's end", 30, lambda: len(self.engine.rpc("iscsi_get_connections")) == 1)
            self.check_connections(1)

    def engine_killed(self):
        self.trouble("the engine is killed while fio writes, and started again; all is written",
                     self.engine.kill, self.engine.restart)

    def link_down(self):
        def make():
            self.guest.run("ip link set eth0 down")
            wait("the initiator to notice", 60, lambda: self.state() == "FAILED")

        self.trouble("the link goes down while fio writes, and up again; all is written",
                     make, lambda: self.guest.run("ip link set eth0 up"))

    def state(self):
        """The initiator's opinion of its only session."""
        return self.guest.run("cat /sys/class/iscsi_session/session*/state").strip()

    def writes(self):
        """Writes the engine has done since it started."""
        return self.engine.rpc("bdev_get_iostat", names=["Disk"])["bdevs"][0]["num_write_ops"]
