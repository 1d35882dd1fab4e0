"""A person's line to the exchange: runs on the operator's machine."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "name": ("switchboard_operator", "name of the node"),
    "namespace": ("", "namespace of the node"),
    "params_file": ("", "YAML file with ROS parameters of the node; the arguments below win over it"),
    "operator_id": ("", "unique id on the exchange; empty: as in params_file, else made from the host name"),
    "display_name": ("", "name that people see; empty: as in params_file, else the id"),
    "kind": ("", "operator, or observer for somebody who only looks; empty: as in params_file, else operator"),
    "server": ("", "the exchange, host:port; empty: as in params_file, else port 7420 of this host"),
    "rules": ("", "YAML file that says what is offered, wanted and accepted; empty: as in params_file, else built-in ones"),
    "log_level": ("info", "error, warn, info, debug or trace"),
    "respawn": ("true", "start the node again if it dies"),
}
# Argument of this file: parameter of the node.
PARAMETERS = {"operator_id": "client_id", "display_name": "display_name", "kind": "kind", "server": "server",
              "rules": "rules"}


def launch_setup(context):
    argument = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # Only what was given: an empty value would hide the one in the file. All are texts, an id such as 7 too.
    given = {
        parameter: ParameterValue(LaunchConfiguration(name), value_type=str)
        for name, parameter in PARAMETERS.items()
        if argument[name]
    }
    return [
        Node(
            package="switchboard",
            executable="operator",
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
