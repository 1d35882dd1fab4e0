# `./dev bench`: what it needs beyond the package, and the runs.
# shellcheck shell=bash

# zenoh and its plugin are hundreds of crates that nothing else here needs: they are built here only.
BENCH_TARGET=$ROOT/target/bench

# run_bench WHAT ARGUMENTS...
run_bench() {
    local what=${1:-}
    [[ $what == bridge ]] || die "bench takes the name of a benchmark, which is 'bridge', not '$what'."
    shift
    prepare
    case " $* " in
        *" --help "* | *" -h "*) ;;
        *)
            build_package
            build_bench "$@"
            ;;
    esac
    unlock
    is_built && use_package
    CALLED_FROM=$CALLED_FROM exec "$ROS_PYTHON" "$ROOT/bench/$what.py" --programs "$BENCH_TARGET/release" \
        --switchboard "$INSTALL/switchboard/lib/switchboard" "$@"
}

# build_bench ARGUMENTS...: the two ends, and zenoh unless it is left out.
build_bench() {
    local packages=(-p bench-endpoint) how_long="the first time about a minute on 2 cores"
    if [[ " $* " != *" --without zenoh "* && " $* " != *" --without=zenoh "* ]]; then
        packages+=(-p bench-zenoh)
        how_long="the first time about 10 minutes on 2 cores"
    fi
    timed "building the benchmark" "$how_long" logged "$DEV/log/bench.log" \
        env CARGO_TARGET_DIR="$BENCH_TARGET" cargo build --manifest-path "$ROOT/bench/Cargo.toml" --release --locked "${packages[@]}"
}
