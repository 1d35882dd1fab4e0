"""The exchange: one per site, on a host that every robot can reach."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "name": ("switchboard", "name of the node"),
    "namespace": ("", "namespace of the node"),
    "params_file": ("", "YAML file with ROS parameters of the node; the arguments below win over it"),
    "address": ("", "address to listen on (0.0.0.0: all); empty: as in params_file, else this host only"),
    "port": ("", "TCP port to listen on; empty: as in params_file, else 7420"),
    "open_on_start": ("", "whether to open the port at once (true, false); empty: as in params_file, else true"),
    "database": ("", "SQLite file of the registry; empty: as in params_file, else the node's default"),
    "export_directory": ("", "folder for CSV exports; empty: as in params_file, else the node's default"),
    "log_level": ("info", "error, warn, info, debug or trace"),
    "respawn": ("true", "start the server again if it dies"),
}
PARAMETERS = {"address": str, "port": int, "open_on_start": bool, "database": str, "export_directory": str}


def launch_setup(context):
    argument = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # Only what was given: an empty value would hide the one in the file.
    given = {
        name: ParameterValue(LaunchConfiguration(name), value_type=value_type)
        for name, value_type in PARAMETERS.items()
        if argument[name]
    }
    return [
        Node(
            package="switchboard",
            executable="server",
            name=argument["name"],
            namespace=argument["namespace"],
            parameters=[source for source in (argument["params_file"], given) if source],
            arguments=["--log-level", argument["log_level"]],
            respawn=argument["respawn"].lower() == "true",
            respawn_delay=1.0,
            output="screen",
        )
    ]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=launch_setup)])
