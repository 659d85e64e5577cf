# What benches/lio runs in the guest, on top of scripts/vm/guest/lib.sh. Scripts there run under set -euo pipefail.
# shellcheck shell=bash

LIO=/sys/kernel/config/target

# lio_target NAME ADDRESS:PORT MIB: LIO's target, with a RAM disk of its own as LUN 0, over TCP and iSER at one portal.
lio_target() {
    local portal=$LIO/iscsi/$1/tpgt_1 disk=$LIO/core/rd_mcp_0/disk
    modprobe -a target_core_mod iscsi_target_mod ib_isert
    mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
    mkdir -p "$disk"
    # In pages of 4 KiB.
    echo "rd_pages=$(($3 * 256))" >"$disk/control"
    echo 1 >"$disk/enable"
    mkdir -p "$portal"
    # Everybody may log in and write.
    echo 0 >"$portal/attrib/authentication"
    echo 1 >"$portal/attrib/generate_node_acls"
    echo 1 >"$portal/attrib/cache_dynamic_acls"
    echo 0 >"$portal/attrib/demo_mode_write_protect"
    mkdir "$portal/lun/lun_0"
    ln -s "$disk" "$portal/lun/lun_0/disk"
    mkdir "$portal/np/$2"
    echo 1 >"$portal/np/$2/iser"
    echo 1 >"$portal/enable"
}

# serve ARGUMENT…: this engine in the background; waits until it answers.
serve() {
    isere serve "$@" >>/rig/engine.log 2>&1 &
    echo $! >/run/engine.pid
    until_true 20 isere rpc spdk_get_version
}

# disk_of TARGET: the disk of the session with it.
disk_of() {
    local session block
    for session in /sys/class/iscsi_session/session*; do
        [[ $(<"$session/targetname") == "$1" ]] || continue
        for block in "$session"/device/target*/*/block/sd*; do echo "/dev/${block##*/}"; done
    done
}

# retries: how often the RDMA device has sent something again.
retries() { echo "$(</sys/class/infiniband/rxe0/ports/1/hw_counters/completer_retry_err)"; }

# load COMMAND…: prints the device's retries before and after a command, then what that printed.
load() {
    retries
    "$@" >/tmp/report 2>/tmp/errors || {
        cat /tmp/errors /tmp/report
        die "$1 failed"
    }
    retries
    cat /tmp/report
}
