# Sourced by the scripts: output, packages, scratch directories. Needs bash.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# cargo's own variable; every script finds the programs it builds here.
: "${CARGO_TARGET_DIR:=$ROOT/target}"
export CARGO_TARGET_DIR

# What building needs beside a Rust toolchain: a linker and the C library's headers for it; for RDMA devices the verbs
# libraries, and a libclang that reads their headers.
PACKAGES_BUILD=(gcc libc6-dev libibverbs-dev librdmacm-dev libclang-dev pkg-config)
# A real initiator: libiscsi's tools, and qemu-img and qemu-io with their iSCSI driver.
PACKAGES_INITIATOR=(libiscsi-bin qemu-utils qemu-block-extra)
# What the tests need on top.
PACKAGES_TEST=(binutils curl git python3 python3-venv iproute2 rdmacm-utils tgt tshark valgrind)

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }
step() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }
die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2
    exit 1
}

# A private directory, in SCRATCH. Whoever makes one calls drop_scratch from its exit trap.
make_scratch() { SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/isere.XXXXXX"); }
drop_scratch() { [[ -z ${SCRATCH:-} ]] || rm -rf -- "$SCRATCH"; }

missing_packages() {
    local package
    for package in "$@"; do
        # The query fails for a package the machine has never heard of: then it is missing, too.
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] ||
            printf '%s\n' "$package"
    done
}

# Installs Debian packages that are not there yet. Asks nothing.
install_packages() {
    command -v dpkg-query >/dev/null || {
        say "not a Debian system; these packages, or what they are called here, are needed: $*"
        return
    }
    local missing as_root=()
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
            die "these packages are missing, and installing them takes root: ${missing[*]}
  as root: apt-get install -y --no-install-recommends ${missing[*]}"
        as_root=(sudo -n)
    fi
    step "installing Debian packages: ${missing[*]}"
    local log
    log=$(mktemp "${TMPDIR:-/tmp}/isere-apt.XXXXXX")
    # Without package lists there is nothing to install from, and old ones may name files that are gone.
    apt_get install "${missing[@]}" >"$log" 2>&1 ||
        { apt_get update && apt_get install "${missing[@]}"; } >"$log" 2>&1 || {
        sed 's/^/  /' "$log" >&2
        rm -f -- "$log"
        die "cannot install ${missing[*]}"
    }
    rm -f -- "$log"
}

# Uses as_root of its caller.
apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends "$@" </dev/null
}

# Puts cargo into the path, or says how to get it.
need_cargo() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die "no Rust toolchain: install one, 1.95 or newer (https://rustup.rs)"
    find_libclang
}

# What cargo is told when it builds the engine: nothing, or to leave RDMA devices out.
FEATURES=()

# The crate rdma-sys cannot read the headers with a libclang newer than 15, and takes the newest if it may choose.
find_libclang() {
    [[ -z ${LIBCLANG_PATH:-} ]] || return 0
    local version
    for version in 15 14 13 11; do
        if [[ -e /usr/lib/llvm-$version/lib/libclang.so.1 ]]; then
            export LIBCLANG_PATH=/usr/lib/llvm-$version/lib
            return 0
        fi
    done
    say "no libclang of version 11 to 15: building without RDMA devices; iSER then runs on soft-iWARP alone. To have
them, install such a libclang and set LIBCLANG_PATH to the directory of its libclang.so.1" >&2
    FEATURES=(--no-default-features)
}

# 0 when something on this machine listens at TCP port $1.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints seconds $1 as 1:05.
minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# Prints a port that nobody listens at.
free_port() {
    local port=$((20000 + RANDOM % 10000))
    while port_taken "$port"; do port=$((port + 1)); done
    printf '%s\n' "$port"
}
