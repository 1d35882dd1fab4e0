# `./dev test` and `./dev lint`: steps, in order, each named and timed, and a summary at the end.
# shellcheck shell=bash

CARGO_DENY_PINNED=0.20.2

PASSED=() FAILED=() SKIPPED=()

# step NAME COMMAND...: run one step and note how it went. The steps after it run whatever happens, so that one run
# shows everything; those that need a failed one are skipped by name (see needs).
step() {
    local name=$1 start=$SECONDS code=0
    shift
    [[ -n ${GITHUB_ACTIONS:-} ]] && echo "::group::$name"
    say "[$name]"
    # A subshell of its own with errexit: as the left side of || it would not be in force.
    set +e
    (set -e && "$@")
    code=$?
    set -e
    local took
    took=$(seconds_as_text $((SECONDS - start)))
    case $code in
        0) PASSED+=("$name ($took)") && say "[$name] passed in $took" ;;
        77) SKIPPED+=("$name") ;;
        *) FAILED+=("$name ($took)") && say "[$name] FAILED after $took" ;;
    esac
    [[ -n ${GITHUB_ACTIONS:-} ]] && echo "::endgroup::"
    return 0
}

# skip REASON: leave a step out, saying why.
skip() {
    say "skipped: $1"
    exit 77
}

# needs STEP: skip this step if that one failed.
needs() {
    local failed
    for failed in "${FAILED[@]}"; do
        [[ $failed == "$1 ("* ]] && skip "[$1] failed"
    done
    return 0
}

summary() {
    local name
    echo
    for name in "${PASSED[@]}"; do echo "  passed   $name"; done
    for name in "${SKIPPED[@]}"; do echo "  skipped  $name"; done
    for name in "${FAILED[@]}"; do echo "  FAILED   $name"; done
    echo "  in all   $(seconds_as_text "$SECONDS")"
    echo "${#PASSED[@]} passed, ${#FAILED[@]} failed, ${#SKIPPED[@]} skipped"
    ((${#FAILED[@]} == 0))
}

check_format() {
    cargo fmt --version >/dev/null || die "rustfmt is missing: rustup component add rustfmt"
    cargo fmt --all --check
    cargo fmt --manifest-path bench/Cargo.toml --all --check
}

# Licences, banned and duplicate crates, sources; advisories if their database can be had.
check_dependencies() {
    ensure_cargo_deny
    local deny=("$TOOLS/bin/cargo-deny" --locked --all-features)
    "${deny[@]}" check --hide-inclusion-graph bans licenses sources
    if timeout 60 "${deny[@]}" fetch db >"$DEV/log/advisories.log" 2>&1; then
        "${deny[@]}" check --disable-fetch advisories
    else
        say "NOT CHECKED: advisories, because their database cannot be fetched from here"
    fi
}

ensure_cargo_deny() {
    local key
    key=$(hash_of cargo-deny "$CARGO_DENY_PINNED" "$TOOLS")
    is_stamped cargo-deny "$key" && [[ -x $TOOLS/bin/cargo-deny ]] && return 0
    unstamp cargo-deny
    # Unoptimised: it runs for a second and is compiled in half the time.
    timed "compiling cargo-deny $CARGO_DENY_PINNED into .dev/tools" "once, about 2 minutes on 2 cores" \
        logged "$DEV/log/cargo-deny.log" env CARGO_TARGET_DIR="$TOOLS/build" cargo install cargo-deny \
        --version "$CARGO_DENY_PINNED" --locked --debug --no-default-features --root "$TOOLS"
    rm -rf "$TOOLS/build"
    stamp cargo-deny "$key"
}

clippy_pure() { without_ros cargo clippy --locked --no-default-features --all-targets -- -D warnings; }
clippy_ros() {
    needs build
    cargo_with_ros clippy --locked --release --all-targets -- -D warnings
}

test_pure() { without_ros cargo test --locked --no-default-features; }
test_ros() {
    needs build
    use_package
    cargo_with_ros test --locked --release --lib --tests
}

test_end_to_end() {
    needs build
    [[ -d $ROOT/tests/e2e ]] || skip "there is no tests/e2e"
    use_package
    unlock
    # The interfaces that the tests build are kept, as what they are built from seldom changes.
    export SWITCHBOARD_TEST_CACHE=$DEV/fixtures
    timeout --foreground 30m "$ROS_PYTHON" -m pytest -ra --durations=10 -p no:cacheprovider "$ROOT/tests/e2e" "$@"
}

check_rust_tools() {
    cargo clippy --version >/dev/null 2>&1 || die "clippy is missing: rustup component add clippy"
}

run_lint() {
    step format check_format
    step dependencies check_dependencies
    step "clippy without ROS" clippy_pure
    step build build_package
    step "clippy with ROS" clippy_ros
    summary
}

run_tests() {
    step format check_format
    step dependencies check_dependencies
    step "clippy without ROS" clippy_pure
    step "tests without ROS" test_pure
    step build build_package
    step "clippy with ROS" clippy_ros
    step "tests with ROS" test_ros
    step "end to end" test_end_to_end "$@"
    summary
}
