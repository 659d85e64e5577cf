# What the scripts that run in a guest are written with. They run under set -euo pipefail.
# shellcheck shell=bash

die() {
    echo "error: $*" >&2
    exit 1
}

# until_true SECONDS COMMAND…: runs it ten times a second until it succeeds.
until_true() {
    local tries=$(($1 * 10))
    shift
    until "$@"; do
        ((tries-- > 0)) || die "waited in vain: $*"
        sleep 0.1
    done
}

# The network to the host (10.0.2.2).
host_network() {
    modprobe virtio_net
    ip link set eth0 up
    ip address add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
}

# A network within the guest: ADDRESS on one end of a cable. Software RDMA does not take the loopback device.
own_network() {
    modprobe veth
    ip link add veth0 type veth peer name veth1
    ip address add "$1/24" dev veth0
    ip link set veth0 up
    ip link set veth1 up
}

# A network to another guest.
cable_network() {
    modprobe virtio_net
    ip link set eth0 up
    ip address add "$1/24" dev eth0
}

# rdma_device siw|rxe INTERFACE: software RDMA on an interface.
rdma_device() {
    modprobe -a ib_uverbs rdma_ucm
    # rxe does not say that it needs a CRC.
    case $1 in
        siw) modprobe siw ;;
        rxe) modprobe -a crc32_generic rdma_rxe ;;
    esac
    rdma link add "${1}0" type "$1" netdev "$2"
}

# The kernel's initiator, with open-iscsi.
initiator() {
    modprobe -a sd_mod sg iscsi_tcp ib_iser
    echo "InitiatorName=iqn.2026-11.test:guest" >/etc/iscsi/initiatorname.iscsi
    setting 'node.conn[0].timeo.login_timeout' 10
    setting node.session.initial_login_retry_max 3
    cp /etc/iscsi/iscsid.conf /run/usual.conf
    iscsid
}

# setting KEY VALUE: in the file that new node records are made from; the last one counts.
setting() { echo "$1 = $2" >>/etc/iscsi/iscsid.conf; }

# login TARGET PORTAL tcp|iser SESSIONS [KEY=VALUE…]: with these settings in the node record.
login() {
    local target=$1 portal=$2 interface=${3/tcp/default} sessions=$4 pair
    shift 4
    cp /run/usual.conf /etc/iscsi/iscsid.conf
    for pair in "node.session.nr_sessions=$sessions" "$@"; do setting "${pair%=*}" "${pair#*=}"; done
    iscsiadm -m node -o new -T "$target" -p "$portal" -I "$interface"
    iscsiadm -m node -T "$target" -p "$portal" -I "$interface" --login
    until_true 20 have_disks "$sessions"
}

# logout: all sessions, and forgets the nodes.
logout() {
    iscsiadm -m node -U all
    iscsiadm -m node -o delete
}

# The disks of all sessions, one a line, LUN 0 of the oldest first.
disks() {
    local path
    for path in /sys/class/iscsi_session/session*/device/target*/*/block/sd*; do
        [[ ! -e $path ]] || echo "/dev/${path##*/}"
    done | sort -V
}

# have_disks NUMBER: at least so many, with a size.
have_disks() {
    local disk found=0
    for disk in $(disks); do
        [[ $(<"/sys/block/${disk##*/}/size") == 0 ]] || found=$((found + 1))
    done
    ((found >= $1))
}

# verify FIO-ARGUMENT…: writes random blocks and reads all of them back; fio's headers say which is which. Each disk has
# its own part of the device, should they be one.
verify() {
    local disk number=0 jobs=()
    for disk in $(disks); do
        jobs+=("--name=disk$number" "--filename=$disk" "--offset=$((number * 24))m")
        number=$((number + 1))
    done
    fio --direct=1 --ioengine=libaio --rw=randwrite --verify=crc32c --verify_fatal=1 --verify_dump=0 \
        --output=/tmp/fio "$@" "${jobs[@]}" || {
        cat /tmp/fio
        die "fio failed"
    }
}

# start_engine ARGUMENT…: `isere serve` in the background, and waits until it answers.
start_engine() {
    rm -f /run/engine.status
    (
        bash -c 'echo $$ >/run/engine.pid; exec "$@"' - isere serve --idle adaptive "$@" >>/rig/engine.log 2>&1 ||
            status=$?
        echo "${status:-0}" >/run/engine.status
    ) &
    until_true 20 isere rpc spdk_get_version
}

# end_engine SIGNAL: prints its exit code.
end_engine() {
    kill "-$1" "$(</run/engine.pid)"
    until_true 20 test -s /run/engine.status
    cat /run/engine.status
}

# capture INTERFACE: into /rig/pcap, until tcpdump is ended. In memory first; the shared directory is slow.
capture() {
    tcpdump -Z root -i "$1" -s 0 -U -w /tmp/pcap
    cp /tmp/pcap /rig/pcap
}
