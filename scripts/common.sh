# Shared by ./dev and the scripts beside this file: words on the terminal, timing, stamps, the lock.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DEV=$ROOT/.dev            # everything that ./dev makes, except cargo's target folder
STAMPS=$DEV/stamps
EMBEDDED=$DEV/ros         # the embedded ROS 2: a Python environment that is an ament prefix
RUST=$DEV/rust            # a Rust toolchain of our own, where the machine has none that is new enough
TOOLS=$DEV/tools          # programs for the checks
INSTALL=$DEV/install      # the built package
mkdir -p "$STAMPS"

if [[ -t 2 ]]; then BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'; else BOLD='' RED='' PLAIN=''; fi

say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }

die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# seconds_as_text SECONDS
seconds_as_text() {
    if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}

# timed WHAT HOW_LONG COMMAND...: run it and say what it is, how long that may take and how long it took.
timed() {
    local what=$1 how_long=$2 start=$SECONDS code=0
    shift 2
    say "$what ($how_long)"
    "$@" || code=$?
    if ((code == 0)); then say "$what: done in $(seconds_as_text $((SECONDS - start)))"; fi
    return "$code"
}

# logged LOG COMMAND...: keep the output in a file; show a sign of life now and then, and the end if the command fails.
logged() {
    local log=$1 code=0 ticker
    shift
    mkdir -p "$(dirname "$log")"
    : >"$log"
    show_progress "$log" $$ &
    ticker=$!
    "$@" >"$log" 2>&1 </dev/null || code=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if ((code != 0)); then
        tail -n 60 "$log" >&2
        printf '%serror:%s %s failed; the whole output is in %s\n' "$RED" "$PLAIN" "${1##*/}" "$log" >&2
    fi
    return "$code"
}

# show_progress LOG PARENT: the last line of the log every 30 s, for as long as the parent lives. Waits by reading from a
# pipe that nobody writes to, for a `sleep` would outlive it and hold on to the terminal.
show_progress() {
    local never line start=$SECONDS
    [[ -n ${LOCK_FD:-} ]] && exec {LOCK_FD}>&-
    exec {never}<> <(:)
    while read -r -t 30 -u "$never" || kill -0 "$2" 2>/dev/null; do
        line=$(tail -c 400 "$1" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-100)
        printf '    %s: %s\n' "$(seconds_as_text $((SECONDS - start)))" "$line" >&2
    done
}

# A stamp holds the hash of what a finished step was made from. It is written last: a step that was interrupted has none,
# and one whose inputs changed has another, so either is done again.
hash_of() { printf '%s\0' "$@" | sha256sum | cut -c1-32; }
hash_of_files() { sort -z | xargs -0 -r sha256sum | sha256sum | cut -c1-32; } # names on stdin, each ended by a NUL
is_stamped() { [[ -f $STAMPS/$1 && $(<"$STAMPS/$1") == "$2" ]]; }
unstamp() { rm -f "$STAMPS/$1"; }
stamp() {
    printf '%s\n' "$2" >"$STAMPS/$1.new"
    mv -f "$STAMPS/$1.new" "$STAMPS/$1"
}

# Two runs in one checkout take turns. The lock goes with the process that holds it, however that ends.
lock() {
    exec {LOCK_FD}>"$DEV/lock"
    if ! flock --nonblock "$LOCK_FD"; then
        say "another ./dev is at work in this checkout; waiting for it"
        flock "$LOCK_FD"
    fi
}
unlock() { exec {LOCK_FD}>&-; } # in a subshell: the processes started there do not keep it

# version_at_least HAVE WANT
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }
