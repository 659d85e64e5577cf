"""The scenarios of scripts/vm-test. Each has guests and engines of its own."""

import re
import shutil

import conformance
from bench import LOST_CONNECTION, require
from checks import Session, wait
from engines import TARGET

SMALL = "--bsrange=4k-256k --size=16m --iodepth=8"
DEEP = "--bs=4k --size=4m --iodepth=32"
# So many of an engine's log are searched for a panic.
LOG_LINES = 10_000
# In a guest: an address that software RDMA can be had on.
ADDRESS = "10.9.0.1"


def host_tcp(bench):
    """The engine on the host, the kernel's initiator in a guest, iSCSI over TCP."""
    session = over_tcp(bench)
    tour(session)
    session.log_out()
    finish(bench, session.engine)


def host_siw(bench):
    """The engine on the host with an iWARP of its own; in the guest the kernel's iWARP (siw) and iSER."""
    iser = over_siw(bench)
    tour(iser)
    iser.log_out()
    tcp = Session(bench, iser.guest, iser.engine, "tcp")
    tcp.log_in()
    tcp.compare_file_system()
    tcp.file_system()
    tcp.log_out()
    iser.log_in()
    iser.compare_file_system()
    iser.log_out()
    finish(bench, iser.engine)


def host_siw_options(bench):
    """As host-siw; other parameters of the kernel's iSER, deep and shallow queues, eight sessions."""
    session = over_siw(bench)
    session.load_iser("always_register=N")
    session.log_in()
    session.file_system()
    session.verify("random sizes, 8 at a time", SMALL)
    session.log_out()
    session.load_iser("max_sectors=8192")
    session.log_in()
    session.large_requests()
    session.log_out()
    session.load_iser()
    session.log_in(1, "node.session.cmds_max=16", "node.session.queue_depth=2")
    session.verify("4 KiB, 32 at a time", DEEP)
    session.log_out()
    several(session)
    finish(bench, session.engine)


def host_siw_trouble(bench):
    """As host-siw; the network goes away and comes back, the guest loses its power in the middle of writes."""
    trouble(bench, over_siw(bench))


def host_tcp_trouble(bench):
    """As host-tcp; eight sessions; the network goes away and comes back, the guest loses its power."""
    session = over_tcp(bench)
    several(session)
    trouble(bench, session)


def guest_rxe(bench):
    """Engine and initiator in one guest, RoCE in software (rxe), the engine on the verbs library."""
    within(bench, "rxe")


def guest_siw(bench):
    """Engine and initiator in one guest, iWARP in the kernel (siw), the engine on the verbs library."""
    within(bench, "siw")


def two_guests_rxe(bench):
    """The engine in one guest, the initiator in another, RoCE in software (rxe) on the cable between them."""
    between(bench, "rxe")


def two_guests_siw(bench):
    """The engine in one guest, the initiator in another, iWARP in the kernel (siw) on the cable between them."""
    between(bench, "siw")


def over_tcp(bench):
    engine = bench.host_engine()
    return Session(bench, neighbour(bench, "tcp"), engine, "tcp")


def over_siw(bench):
    engine = bench.host_engine(transport="auto", provider="siw")
    return Session(bench, neighbour(bench, "iser"), engine, "iser")


def neighbour(bench, transport):
    """A guest with an initiator and a network to the host."""
    guest = bench.guest()
    guest.run("host_network")
    if transport == "iser":
        guest.run("rdma_device siw eth0")
    guest.run("initiator")
    return guest


def within(bench, kind):
    """All in one guest."""
    guest = bench.guest(networks=())
    guest.run(f"own_network {ADDRESS}; rdma_device {kind} veth0; initiator")
    engine = bench.guest_engine(guest, ADDRESS, transport="iser", provider="verbs")
    session = Session(bench, guest, engine, "iser")
    tour(session)
    session.log_out()
    own_initiator(bench, guest, engine)
    finish(bench, engine)
    conformance.run(bench, guest, kind, ADDRESS)


def between(bench, kind):
    """The engine in one guest, the initiator in another."""
    cable = f"unix:{bench.sockets}/cable"
    server, client = bench.guest(networks=[cable]), bench.guest(networks=[cable])
    for guest, address in ((server, ADDRESS), (client, "10.9.0.2")):
        guest.run(f"cable_network {address}; rdma_device {kind} eth0")
    client.run("initiator")
    engine = bench.guest_engine(server, ADDRESS, transport="iser", provider="verbs")
    session = Session(bench, client, engine, "iser")
    tour(session)
    session.log_out()
    finish(bench, engine)


def tour(session):
    """Everything that is checked of every kind of session. Leaves it logged in."""
    session.discover()
    session.log_in()
    session.inspect()
    session.verify("random sizes, 8 at a time", SMALL)
    session.verify("4 KiB, 32 at a time", DEEP)
    session.engine_killed()
    session.file_system()


def own_initiator(bench, guest, engine):
    """This project's initiator instead of the kernel's, on the verbs library as the engine is."""
    url = f"iser://{engine.portal}/{TARGET}/0?provider=verbs"
    for size, seconds in ("4K", 1), ("128K", 3):
        with bench.step(f"isere perf reads and writes {size} at random, 8 at a time, and verifies"):
            told = guest.run(f"isere perf '{url}' --rw randrw --bs {size} --qd 8 --warmup 0 --time {seconds} --verify")
            require("\nerrors 0\n" in told, told)
    # Of the small ones, hardly any is read that was written before.
    require(re.search(r"^verified [1-9]", told, re.MULTILINE), f"no block was verified:\n{told}")


def several(session):
    """As many sessions as a test machine can bear, each with a queue deeper than the target grants."""
    session.log_in(8, "node.session.cmds_max=512", "node.session.queue_depth=128")
    session.verify("on all sessions, 4 KiB, 64 at a time", "--bs=4k --size=1m --iodepth=64")
    session.log_out()


def trouble(bench, session):
    """What a network and a guest can do to a session."""
    session.log_in(1, "node.conn[0].timeo.noop_out_interval=2", "node.conn[0].timeo.noop_out_timeout=2")
    session.link_down()
    session.file_system()
    guest, engine = session.guest, session.engine
    with bench.step("the guest loses its power in the middle of writes, the engine its connection"):
        before = session.writes()
        guest.begin("mount $(disks) /mnt; while dd if=/dev/urandom of=/mnt/more bs=1M count=32; do sync; done")
        wait("the guest to write", 30, lambda: session.writes() > before + 20)
        bench.power_cut(guest)
        wait("the engine to notice", 30, lambda: not engine.rpc("iscsi_get_connections"))
    after = neighbour(bench, session.transport)
    shutil.copyfile(guest.rig / "sums", after.rig / "sums")
    session = Session(bench, after, engine, session.transport)
    session.log_in()
    with bench.step("the journal is replayed, the files are what they were"):
        after.run("mount $(disks) /mnt; umount /mnt")
        session.read_file_system()
    session.log_out()
    finish(bench, engine)


def finish(bench, engine):
    with bench.step("the engine ends in peace"):
        require(engine.alive(), f"the engine is dead:\n{engine.tail()}")
        require("panicked" not in engine.tail(LOG_LINES), f"a panic was caught:\n{engine.tail(LOG_LINES)}")
        status = engine.stop()
        require(status == 0, f"exit code {status}:\n{engine.tail()}")


# What runs when nothing is named, and what does not.
USUAL = {
    "host-tcp": host_tcp,
    "host-siw": host_siw,
    "host-siw-options": host_siw_options,
    "host-siw-trouble": host_siw_trouble,
    "guest-rxe": guest_rxe,
    "guest-siw": guest_siw,
}
MORE = {
    "host-tcp-trouble": host_tcp_trouble,
    "two-guests-rxe": two_guests_rxe,
    "two-guests-siw": two_guests_siw,
}
