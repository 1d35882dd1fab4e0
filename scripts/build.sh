# Building the package with colcon, and the environment that has it.
# shellcheck shell=bash

# The build's own workspace. CMake refuses to export targets whose include folders lie inside the source folder, as the
# embedded ROS does here; seen through this link it does not.
WORKSPACE=$DEV/src
export CARGO_TARGET_DIR=$ROOT/target

# build_package: needs ensure_rust and ensure_ros. Quick if nothing changed.
build_package() {
    local key how_long="seconds, or as long as what changed takes to compile"
    key=$(hash_of "$AMENT_PREFIX_PATH" "$ROS_DISTRO" "$(cat "$STAMPS/ros-tf2_msgs" 2>/dev/null)")
    if ! is_stamped build-ros "$key"; then # built for another ROS, or never
        unstamp build-ros
        rm -rf "$DEV/build" "$INSTALL"
        stamp build-ros "$key"
    fi
    [[ -x $INSTALL/switchboard/lib/switchboard/server ]] || how_long="the first time about 5 minutes on 2 cores"
    mkdir -p "$WORKSPACE"
    ln -sfn ../.. "$WORKSPACE/switchboard"
    timed "building the package" "$how_long" logged "$DEV/log/build.log" \
        colcon --log-base "$DEV/log/colcon" build --base-paths "$WORKSPACE" --packages-select switchboard \
        --build-base "$DEV/build" --install-base "$INSTALL" --event-handlers console_direct+ console_stderr- console_start_end- \
        --cmake-args -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF "-DSWITCHBOARD_CARGO_TARGET_DIR=$CARGO_TARGET_DIR"
}

# is_built: is there an installed package for the ROS that is in use?
is_built() { [[ -f $STAMPS/build-ros && -x $INSTALL/switchboard/lib/switchboard/server ]]; }

# use_package: source the built package on top of ROS.
use_package() {
    set +u # colcon's scripts use variables that may not be set
    # shellcheck disable=SC1091
    . "$INSTALL/local_setup.bash"
    set -u
    export SWITCHBOARD_PREFIX=$INSTALL/switchboard
    # Robots and tests on this machine are nobody else's business, unless asked for.
    export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
    [[ $ROS_DISTRO == humble ]] && export ROS_LOCALHOST_ONLY=${ROS_LOCALHOST_ONLY:-1} # its word for the same
    return 0
}

# cargo_with_ros ARGUMENTS...: cargo in the environment of the build, so that r2r is not compiled a second time.
cargo_with_ros() { "$DEV/build/switchboard/cargo-with-ros" "$@"; }

# without_ros COMMAND...: as on a machine that has none.
without_ros() {
    env -u AMENT_PREFIX_PATH -u CMAKE_PREFIX_PATH -u COLCON_PREFIX_PATH -u ROS_DISTRO -u ROS_VERSION \
        -u ROS_PYTHON_VERSION -u RMW_IMPLEMENTATION -u LD_LIBRARY_PATH -u PYTHONPATH "$@"
}
