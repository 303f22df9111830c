# shellcheck shell=bash
# Sourced by the scripts beside it: messages, the toolchain, Debian packages.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What takes long to fetch or build lies outside the checkout, so that a fresh clone has it too.
# shellcheck disable=SC2034  # read by the scripts that source this
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/otel-ml

# rustup's folder is on the PATH of a login shell only.
command -v cargo >/dev/null 2>&1 || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# at_least HAVE WANT: compares versions such as 1.95.0 and 1.95.
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

# Installs Debian packages, as root or by sudo. Called only when something is missing.
install_packages() {
    local root=()
    if ! has apt-get; then
        warn "no apt-get here; install by hand what these Debian packages hold: $*"
        return 1
    fi
    if ((EUID != 0)); then
        if ! has sudo; then
            warn "no root and no sudo here; as root, run: apt-get update && apt-get install -y --no-install-recommends $*"
            return 1
        fi
        root=(sudo)
    fi
    say "installing with ${root[*]:+sudo }apt-get: $*"
    "${root[@]}" apt-get -q update >&2 || warn "apt-get update failed; trying with the package lists there are"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@" >&2
}

# free_gib PATH: whole GiB free where it lies.
free_gib() { df --output=avail --block-size=1G "$1" | tail -n 1 | tr -d ' '; }

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml"; }

# Rust is not taken from Debian: its release is too old.
need_rust() {
    local want have
    want=$(wanted_rust)
    if ! has cargo || ! has rustc; then
        die "Rust $want or newer is needed and there is none: install it with rustup (https://rustup.rs), then run this again"
    fi
    have=$(rustc --version | cut -d ' ' -f 2)
    at_least "$have" "$want" ||
        die "Rust $want or newer is needed and this is $have: run 'rustup update stable', then this again"
}

can_link() {
    local out rc=0
    has cc || return 1
    out=$(mktemp)
    printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' | cc -x c -o "$out" - 2>/dev/null || rc=1
    rm -f "$out"
    return "$rc"
}

# librdkafka is built from source: by make, and its configuration asks for a C++ compiler.
need_compiler() {
    can_link && has c++ && has make && return
    install_packages gcc g++ libc6-dev make || true
    can_link || die "a C compiler and linker (cc) is needed: install gcc and libc6-dev, then run this again"
    if ! has c++ || ! has make; then
        die "a C++ compiler (c++) and make are needed: install g++ and make, then run this again"
    fi
}

# The addresses a process listens on, one a line, as the kernel writes them: hexadecimal, in the
# byte order of the machine. From /proc, since ss is not everywhere.
process_listens() {
    local inodes
    inodes=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | tr -dc '0-9\n') || return
    # tcp6 is missing where there is no IPv6.
    { cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6" 2>/dev/null || true; } | awk -v inodes="${inodes//$'\n'/ }" '
        BEGIN { split(inodes, list); for (i in list) own[list[i]] }
        $4 == "0A" && $10 in own { print $2 }'
}

# The same, those that can be reached from outside: not 127.x.x.x (as IPv6, too) and not ::1.
process_exposed() {
    process_listens "$1" | grep -vE '^(0{16}FFFF0000)?[0-9A-F]{6}7F:|^0{24}01000000:' || true
}
