# The programs, built by cargo against the interfaces of this very package.
#
# r2r reads interfaces from ament prefixes, and those of this package are installed only after everything is built. So
# they are staged: a small prefix in the build folder holds what r2r looks at (the ament index, the C headers, the
# libraries). r2r's build scripts watch environment variables and never the interface files, therefore the staging
# prefix carries the hash of these files in its name, and the variables are written down here, once, in a wrapper around
# cargo: they stay the same, to the letter, whatever is sourced when, and r2r (minutes) is compiled again only if an
# interface or the ROS installation changed.

find_program(SWITCHBOARD_CARGO cargo PATHS $ENV{HOME}/.cargo/bin)
if(NOT SWITCHBOARD_CARGO)
  message(FATAL_ERROR "cargo was not found. Install Rust (https://rustup.rs), or build only the interfaces: "
    "colcon build --packages-select switchboard --cmake-args -DSWITCHBOARD_PROGRAMS=OFF")
endif()

if(DEFINED ENV{CARGO_TARGET_DIR})
  set(default_target_dir $ENV{CARGO_TARGET_DIR})
else()
  set(default_target_dir ${CMAKE_CURRENT_BINARY_DIR}/cargo)
endif()
set(SWITCHBOARD_CARGO_TARGET_DIR ${default_target_dir} CACHE PATH "cargo's target folder")

# The prefixes that matter: those with a package that r2r links or compiles in. Others, such as this package's own
# install folder once it has been sourced, or unrelated packages of the workspace, must not cause a new build.
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/package.xml depends REGEX "<depend>")
list(TRANSFORM depends REPLACE "^ *<depend>(.*)</depend>.*$" "\\1")
list(APPEND depends service_msgs type_description_interfaces rosidl_typesupport_interface rosidl_dynamic_typesupport)
string(REPLACE ":" ";" ament_prefixes "$ENV{AMENT_PREFIX_PATH}")
list(REMOVE_DUPLICATES ament_prefixes)
set(prefixes "")
set(manifests "")
foreach(prefix IN LISTS ament_prefixes)
  foreach(package IN LISTS depends)
    if(EXISTS ${prefix}/share/ament_index/resource_index/packages/${package})
      list(APPEND prefixes ${prefix})
      list(APPEND manifests ${prefix}/share/${package}/package.xml)
    endif()
  endforeach()
endforeach()
list(REMOVE_DUPLICATES prefixes)

# A different name for different interfaces, ours or those of the ROS installation (an upgrade changes the manifests).
set(seen "")
list(TRANSFORM interface_files PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE interface_paths)
foreach(file IN LISTS interface_paths manifests)
  if(EXISTS ${file})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(SHA256 ${file} hash)
    string(APPEND seen "${hash}\n")
  endif()
endforeach()
string(SHA256 seen "${interface_files}\n${seen}")
string(SUBSTRING ${seen} 0 12 seen)
set(staging ${CMAKE_CURRENT_BINARY_DIR}/staging/${seen})

list(JOIN prefixes ":" cargo_ament_prefix_path)
set(cargo_ament_prefix_path "${staging}:${cargo_ament_prefix_path}")
set(cargo_ros_distro $ENV{ROS_DISTRO})
if(NOT cargo_ros_distro)
  message(FATAL_ERROR "ROS_DISTRO is not set. Source a ROS 2 first, such as /opt/ros/jazzy/setup.bash.")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/cargo.in ${CMAKE_CURRENT_BINARY_DIR}/cargo-with-ros @ONLY
  FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# Stage, once per set of interfaces: these targets are what the headers and libraries come from.
set(interface_targets
  ${PROJECT_NAME}__rosidl_generator_c ${PROJECT_NAME}__rosidl_typesupport_c
  ${PROJECT_NAME}__rosidl_typesupport_introspection_c)
set(libraries "")
foreach(target IN LISTS interface_targets)
  list(APPEND libraries $<TARGET_FILE:${target}>)
endforeach()
add_custom_command(OUTPUT ${staging}/done
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${CMAKE_CURRENT_BINARY_DIR}/staging
  COMMAND ${CMAKE_COMMAND} -E make_directory ${staging}/share ${staging}/lib
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${CMAKE_CURRENT_BINARY_DIR}/ament_cmake_index/share ${staging}/share
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${CMAKE_CURRENT_BINARY_DIR}/rosidl_generator_c ${staging}/include/${PROJECT_NAME}
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${CMAKE_CURRENT_BINARY_DIR}/rosidl_typesupport_introspection_c ${staging}/include/${PROJECT_NAME}
  COMMAND ${CMAKE_COMMAND} -E copy ${libraries} ${staging}/lib
  COMMAND ${CMAKE_COMMAND} -E touch ${staging}/done
  DEPENDS ${interface_targets}
  COMMENT "Staging the interfaces for r2r"
  VERBATIM)

# Always asked, because only cargo knows what changed; it is quick to say that nothing did.
add_custom_target(programs ALL
  COMMAND ${CMAKE_CURRENT_BINARY_DIR}/cargo-with-ros build --release --locked --bins
  DEPENDS ${staging}/done
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
  COMMENT "Building the programs with cargo (the first time compiles r2r and all interfaces: several minutes)"
  VERBATIM)

foreach(program IN ITEMS server robot operator switchboard)
  install(PROGRAMS ${SWITCHBOARD_CARGO_TARGET_DIR}/release/${program} DESTINATION lib/${PROJECT_NAME})
endforeach()
install(PROGRAMS ${SWITCHBOARD_CARGO_TARGET_DIR}/release/switchboard DESTINATION bin)
