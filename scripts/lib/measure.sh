# Sourced after engine.sh: a short table of what `isere perf` measures.
# shellcheck shell=bash

# The last CPU this process may run on; the engine has the first.
last_cpu() { awk '/^Cpus_allowed_list/ { n = split($2, part, /[,-]/); print part[n] }' /proc/self/status; }

# measure_row URL FORMAT LABEL PERF-ARGUMENT...: prints label, IOPS, MB/s, mean, p50 and p99 in µs with awk's printf.
measure_row() {
    local url=$1 format=$2 label=$3 report cores=()
    shift 3
    (($(nproc) < 2)) || cores=(--cores "$(last_cpu)")
    report=$("$ISERE" perf "$url" --time "$MEASURE_SECONDS" --warmup 1 "${cores[@]}" "$@") || {
        say "$report" >&2
        die "isere perf failed: $label"
    }
    awk -v label="$label" -v format="$format" '$1 == "read" || $1 == "write" {
        printf format, label, $2, $3, $4, $6, $8 }' <<<"$report"
}

# measure_all URL FORMAT: all rows. What the disk holds is overwritten.
measure_all() {
    measure_row "$1" "$2" '4 KiB randread QD1' --rw randread --bs 4k --qd 1
    measure_row "$1" "$2" '4 KiB randread QD32' --rw randread --bs 4k --qd 32
    measure_row "$1" "$2" '4 KiB randwrite QD32' --rw randwrite --bs 4k --qd 32
    measure_row "$1" "$2" '128 KiB seq. read QD8' --rw read --bs 128k --qd 8
}
