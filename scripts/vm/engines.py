"""The engine under test, on this machine or in a guest, provisioned over RPC, killed and started again."""

import json
import pathlib
import shlex
import shutil

from engine import Engine, NODE_BASE, free_port

# What all scenarios export, and how large it is in MiB.
TARGET = f"{NODE_BASE}:vm"
DISK_MIB = 256
BLOCK = 512


def provision(engine, device, portal, netmask):
    """One target with one disk, for everybody."""
    engine.rpc("bdev_uring_create", name="Disk", filename=str(device), block_size=BLOCK)
    engine.rpc("iscsi_create_portal_group", tag=1, portals=[portal])
    engine.rpc("iscsi_create_initiator_group", tag=1, initiators=["ANY"], netmasks=[netmask])
    engine.rpc("iscsi_create_target_node", name="vm", alias_name="", queue_depth=64, disable_chap=True,
               pg_ig_maps=[{"pg_tag": 1, "ig_tag": 1}], luns=[{"lun_id": 0, "bdev_name": "Disk"}])


class HostEngine(Engine):
    """On this machine, at a port of its loopback, which a guest sees at 10.0.2.2. The disk is a file."""

    def __init__(self, directory, **portal):
        super().__init__()
        self.keep = pathlib.Path(directory) / "engine.log"
        self.saved = self.directory / "saved.json"
        self.port = free_port()
        self.portal = f"10.0.2.2:{self.port}"
        # What discovery answers: the address of the connection at this end.
        self.discovered = f"127.0.0.1:{self.port}"
        try:
            self.provision_disk(portal)
        except BaseException:
            self.__exit__()
            raise

    def provision_disk(self, portal):
        disk = self.directory / "disk.img"
        with open(disk, "wb") as file:
            file.truncate(DISK_MIB << 20)
        provision(self, disk, {"host": "127.0.0.1", "port": str(self.port), **portal}, "127.0.0.0/8")
        self.saved.write_text(json.dumps(self.rpc("save_config")))

    def __exit__(self, *arguments):
        shutil.copyfile(self.log, self.keep)
        super().__exit__(*arguments)

    def kill(self):
        """As SIGKILL does it: nothing is flushed, no peer is told."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Starts again from what was configured."""
        self.start("--config", self.saved)


class GuestEngine:
    """In a guest, at an address there. The disk is a block device in the guest's memory, which outlives the engine."""

    def __init__(self, guest, program, address, **portal):
        self.guest = guest
        self.portal = self.discovered = f"{address}:3260"
        shutil.copyfile(program, guest.rig / "isere")
        guest.run(f"modprobe brd rd_nr=1 rd_size={DISK_MIB << 10}; install -m 755 /rig/isere /usr/bin/isere")
        self.start()
        provision(self, "/dev/ram0", {"host": address, "port": "3260", **portal}, "ANY")
        self.guest.run("isere rpc save_config >/run/saved.json")

    def start(self, arguments=""):
        self.guest.run(f"start_engine {arguments}")

    def rpc(self, method, **params):
        output = self.guest.run(f"isere rpc {method} {shlex.quote(json.dumps(params)) if params else ''}")
        return json.loads(output)

    def alive(self):
        return self.guest.run("test -e /run/engine.status || echo yes").strip() == "yes"

    def stop(self):
        """Ends the process with SIGTERM and returns its exit code."""
        return int(self.guest.run("end_engine TERM"))

    def kill(self):
        self.guest.run("end_engine KILL")

    def restart(self):
        self.start("--config /run/saved.json")

    def tail(self, lines=20):
        text = (self.guest.rig / "engine.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])
