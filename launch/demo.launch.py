"""A whole fleet on one machine: the server, some simulated robots and an operator, each in its own ROS graph.

The graphs are told apart by ROS_DOMAIN_ID and stay on this machine. Look into one from another terminal:

    ROS_DOMAIN_ID=52 ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ros2 topic list
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "robots": ("2", "number of simulated robots, r1 and up"),
    "server_domain_id": ("50", "ROS_DOMAIN_ID of the server"),
    "operator_domain_id": ("51", "ROS_DOMAIN_ID of the operator"),
    "robot_domain_id": ("52", "ROS_DOMAIN_ID of the first robot; the others follow"),
    "port": ("7420", "TCP port of the exchange"),
    "database": ("", "SQLite file of the registry; empty: the node's default"),
    "export_directory": ("", "folder for CSV exports; empty: the node's default"),
    "robot_rules": (PathJoinSubstitution([FindPackageShare("switchboard"), "config", "demo_robot_rules.yaml"]),
                    "rules of the robots"),
    "operator_rules": (PathJoinSubstitution([FindPackageShare("switchboard"), "config", "demo_operator_rules.yaml"]),
                       "rules of the operator"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}
# Domain ids above this one need ports that Linux gives to clients (ROS 2 documentation, "The ROS_DOMAIN_ID").
DOMAIN_ID_MAX = 101


def launch_setup(context):
    argument = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    robots = int(argument["robots"])
    server_domain = int(argument["server_domain_id"])
    operator_domain = int(argument["operator_domain_id"])
    robot_domains = [int(argument["robot_domain_id"]) + index for index in range(robots)]
    domains = [server_domain, operator_domain, *robot_domains]
    if len(set(domains)) != len(domains) or not all(0 <= domain <= DOMAIN_ID_MAX for domain in domains):
        raise RuntimeError(
            f"domain ids must differ and lie in 0 to {DOMAIN_ID_MAX}, but server, operator and robots have {domains}; "
            "choose others with server_domain_id, operator_domain_id and robot_domain_id"
        )

    this_machine_only = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    if context.environment.get("ROS_DISTRO") == "humble":  # the others know it too, and warn that it is old
        this_machine_only = {"ROS_LOCALHOST_ONLY": "1"}

    def text(value):
        return ParameterValue(value, value_type=str)

    def node(executable, domain, parameters=None, arguments=()):
        return Node(
            package="switchboard",
            executable=executable,
            parameters=[parameters] if parameters else [],
            arguments=[*arguments, "--ros-args", "--log-level", argument["log_level"]],
            additional_env={"ROS_DOMAIN_ID": str(domain), **this_machine_only},
            output="screen",
        )

    server = {"address": text("127.0.0.1"), "port": int(argument["port"])}
    for name in ("database", "export_directory"):
        if argument[name]:
            server[name] = text(argument[name])
    line = f"127.0.0.1:{argument['port']}"

    actions = [node("server", server_domain, server)]
    for index, domain in enumerate(robot_domains, start=1):
        robot_id = f"r{index}"
        actions.append(node("switchboard", domain, arguments=["simulate", "--id", robot_id]))
        actions.append(
            node(
                "robot",
                domain,
                {
                    "client_id": text(robot_id),
                    "display_name": text(f"Robot {index}"),
                    "server": text(line),
                    "rules": text(argument["robot_rules"]),
                },
            )
        )
    actions.append(
        node(
            "operator",
            operator_domain,
            {
                "client_id": text("operator"),
                "display_name": text("Operator"),
                "server": text(line),
                "rules": text(argument["operator_rules"]),
            },
        )
    )
    where = ", ".join(f"r{index}: {domain}" for index, domain in enumerate(robot_domains, start=1))
    actions.append(LogInfo(msg=f"ROS_DOMAIN_ID of server: {server_domain}, operator: {operator_domain}, {where}"))
    return actions


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=launch_setup)])
