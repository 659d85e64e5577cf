# Sourced after engine.sh: a short table of what `isere perf` measures.
# shellcheck shell=bash

# The last CPU this process may run on; the engine has the first.
last_cpu() { awk '/^Cpus_allowed_list/ { n = split($2, part, /[,-]/); print part[n] }' /proc/self/status; }

# measure_row URL LABEL PERF-ARGUMENT...: prints IOPS, MB/s, mean, p50 and p99 in µs.
measure_row() {
    local url=$1 label=$2 report cores=()
    shift 2
    (($(nproc) < 2)) || cores=(--cores "$(last_cpu)")
    report=$("$ISERE" perf "$url" --time "$MEASURE_SECONDS" --warmup 1 "${cores[@]}" "$@") || {
        say "$report" >&2
        die "isere perf failed: $label, $url"
    }
    awk '$1 == "read" || $1 == "write" { print $2, $3, $4, $6, $8 }' <<<"$report"
}

# measure_both HOST:PORT/TARGET/LUN FORMAT LABEL PERF-ARGUMENT...: one row, iSER over soft-iWARP and then iSCSI over
# TCP, with awk's printf: label, and for each of them IOPS, MB/s, mean and p99.
measure_both() {
    local where=$1 format=$2 label=$3 iser tcp
    shift 3
    iser=$(measure_row "iser://$where?provider=siw" "$label" "$@")
    tcp=$(measure_row "iscsi://$where" "$label" "$@")
    awk -v label="$label" -v format="$format" '{ printf format, label, $1, $2, $3, $5, $6, $7, $8, $10 }' \
        <<<"$iser $tcp"
}

# measure_all HOST:PORT/TARGET/LUN FORMAT: all rows. What the disk holds is overwritten.
measure_all() {
    measure_both "$1" "$2" '4 KiB randread QD1' --rw randread --bs 4k --qd 1
    measure_both "$1" "$2" '4 KiB randread QD32' --rw randread --bs 4k --qd 32
    measure_both "$1" "$2" '4 KiB randwrite QD32' --rw randwrite --bs 4k --qd 32
    measure_both "$1" "$2" '128 KiB seq. read QD8' --rw read --bs 128k --qd 8
    measure_both "$1" "$2" '128 KiB seq. write QD8' --rw write --bs 128k --qd 8
}
