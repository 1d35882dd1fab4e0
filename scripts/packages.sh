# What has to be on the machine before anything else: Debian packages, a Python, a Rust toolchain.
# shellcheck shell=bash

# ensure_packages PACKAGE...: have Debian packages, installing them where that is allowed.
ensure_packages() {
    local missing=() package as_root=()
    command -v dpkg-query >/dev/null || {
        say "this is no Debian or Ubuntu; these packages, or what they are called here, are taken to be installed: $*"
        return 0
    }
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return 0
    if ((EUID != 0)); then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            die "Debian packages are missing and this user may not install them. Please run:" \
                "sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
        fi
    fi
    timed "installing Debian packages: ${missing[*]}" "a minute or two" install_packages
}

install_packages() {
    logged "$DEV/log/apt-update.log" "${as_root[@]}" apt-get update || say "apt-get update failed; trying with what is known"
    logged "$DEV/log/apt-install.log" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
}

# find_python: print an interpreter that the wheels exist for and that can make an environment and build extensions.
find_python() {
    local candidate
    for candidate in ${SWITCHBOARD_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
        command -v "$candidate" >/dev/null || continue
        # -I: neither the user's packages nor PYTHONPATH have a say.
        "$candidate" -I - 2>/dev/null <<'PY' && return 0
import os, sys, sysconfig
import ensurepip, venv
ok = (3, 10) <= sys.version_info < (3, 14) and os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
if ok:
    print(os.path.realpath(sys.executable))
sys.exit(not ok)
PY
    done
    return 1
}

# ensure_python: PYTHON becomes the interpreter for the embedded ROS 2.
ensure_python() {
    PYTHON=$(find_python) && return 0
    ensure_packages python3 python3-venv python3-dev
    PYTHON=$(find_python) || die "no Python 3.10 to 3.13 with its venv module and headers was found." \
        "Install one (Debian 12, 13 and Ubuntu 22.04, 24.04: apt-get install python3 python3-venv python3-dev)" \
        "and name it if it is not on the PATH: SWITCHBOARD_PYTHON=/path/to/python3.12 ./dev …"
}

# ensure_rust: cargo and rustc on the PATH, new enough for Cargo.toml; else a toolchain inside the checkout.
ensure_rust() {
    local want have
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    [[ -d $HOME/.cargo/bin && :$PATH: != *:$HOME/.cargo/bin:* ]] && PATH=$PATH:$HOME/.cargo/bin
    if [[ -x $RUST/cargo/bin/cargo ]] && is_stamped rust "$(rust_stamp)"; then
        use_own_rust
    fi
    have=$(cd "$ROOT" && rustc --version 2>/dev/null | cut -d ' ' -f 2) || have=
    if [[ -n $have ]] && command -v cargo >/dev/null && version_at_least "$have" "$want"; then return 0; fi
    say "${have:+Rust $have is too old; }Rust $want or newer is needed"
    ensure_packages curl ca-certificates
    timed "installing a Rust toolchain into .dev/rust" "a minute" install_rust || die "no Rust toolchain." \
        "Install Rust $want or newer yourself (https://rustup.rs) and run ./dev again."
    use_own_rust
}

use_own_rust() {
    export RUSTUP_HOME=$RUST/rustup CARGO_HOME=$RUST/cargo RUSTUP_TOOLCHAIN=$RUST_PINNED
    PATH=$CARGO_HOME/bin:$PATH
}

RUST_PINNED=1.95.0
RUSTUP_PINNED=1.28.2
rust_stamp() { hash_of "$RUST_PINNED" "$RUSTUP_PINNED" "$RUST"; }

install_rust() {
    local host base
    host=$(uname -m)-unknown-linux-gnu
    base=https://static.rust-lang.org/rustup/archive/$RUSTUP_PINNED/$host
    unstamp rust
    mkdir -p "$RUST"
    curl --proto '=https' --fail --silent --show-error --location --retry 3 -o "$RUST/rustup-init" "$base/rustup-init" &&
        curl --proto '=https' --fail --silent --show-error --location --retry 3 -o "$RUST/rustup-init.sha256" "$base/rustup-init.sha256" &&
        [[ $(cut -d ' ' -f 1 "$RUST/rustup-init.sha256") == $(sha256sum "$RUST/rustup-init" | cut -d ' ' -f 1) ]] &&
        chmod +x "$RUST/rustup-init" &&
        RUSTUP_HOME=$RUST/rustup CARGO_HOME=$RUST/cargo RUSTUP_INIT_SKIP_PATH_CHECK=yes \
            logged "$DEV/log/rustup.log" "$RUST/rustup-init" -y --no-modify-path --profile minimal \
            --default-toolchain "$RUST_PINNED" --component rustfmt --component clippy &&
        stamp rust "$(rust_stamp)"
}
