# Sourced after common.sh: one engine of our own, started and stopped by a script.
# shellcheck shell=bash

# The program under test.
: "${ISERE:=$CARGO_TARGET_DIR/release/isere}"
ENGINE_PID=''
# What SPDK's RPCs put before a target's short name.
NODE_BASE=iqn.2016-06.io.spdk

# Starts `isere serve` with more arguments, its socket and log in $SCRATCH, and waits until it answers.
start_engine() {
    SOCKET=$SCRATCH/rpc.sock
    ENGINE_LOG=$SCRATCH/engine.log
    "$ISERE" serve --rpc-socket "$SOCKET" "$@" </dev/null >"$ENGINE_LOG" 2>&1 &
    ENGINE_PID=$!
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        "$ISERE" rpc -s "$SOCKET" spdk_get_version >/dev/null 2>&1 && return
        kill -0 "$ENGINE_PID" 2>/dev/null || break
        sleep 0.05
    done
    sed 's/^/  /' "$ENGINE_LOG" >&2
    die "the engine did not start; its log is above"
}

# Ends it, the hard way if it takes longer than ten seconds.
stop_engine() {
    [[ -n $ENGINE_PID ]] || return 0
    local pid=$ENGINE_PID tries
    ENGINE_PID=''
    kill "$pid" 2>/dev/null || return 0
    for ((tries = 0; tries < 200; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -9 "$pid" 2>/dev/null && say "the engine had to be killed" >&2
    wait "$pid" 2>/dev/null || true
}

# rpc METHOD [JSON]: prints the result.
rpc() { "$ISERE" rpc -s "$SOCKET" "$@"; }

# provision PORT TARGET BDEV...: a target at $ADDRESS (127.0.0.1) for everybody who can reach it, the devices as
# LUN 0, 1, ….
provision() {
    local address=${ADDRESS:-127.0.0.1} netmask=127.0.0.0/8
    [[ $address == 127.* ]] || netmask=ANY
    local port=$1 target=$2 luns='' bdev lun=0
    shift 2
    for bdev in "$@"; do
        luns+="${luns:+,}{\"lun_id\":$lun,\"bdev_name\":\"$bdev\"}"
        lun=$((lun + 1))
    done
    rpc iscsi_create_portal_group "{\"tag\":1,\"portals\":[{\"host\":\"$address\",\"port\":\"$port\"}]}" >/dev/null
    rpc iscsi_create_initiator_group "{\"tag\":1,\"initiators\":[\"ANY\"],\"netmasks\":[\"$netmask\"]}" >/dev/null
    rpc iscsi_create_target_node "{\"name\":\"$target\",\"alias_name\":\"\",\"queue_depth\":64,\"disable_chap\":true,
        \"pg_ig_maps\":[{\"pg_tag\":1,\"ig_tag\":1}],\"luns\":[$luns]}" >/dev/null
}
