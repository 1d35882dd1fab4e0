"""A node that serves, in a process of its own so that it can be killed.

    python3 serving.py set_bool /set_mode        answers at once
    python3 serving.py slow /slow 2.5            answers after so many seconds, many requests at a time
    python3 serving.py one_by_one /slow 0.05     answers one request after the other, and keeps as many as servers usually do
    python3 serving.py count /count 0.2          an action that counts, one number every so many seconds
"""

import os
import sys
import time

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_profile_services_default
from std_srvs.srv import SetBool

# More than any test asks at a time: a service forgets what it has no room for.
DEPTH = QoSProfile(depth=500)


def serve(node, name, takes, qos=DEPTH):
    def answer(request, response):
        time.sleep(takes)
        response.success = request.data
        response.message = f"{name} in domain {node.context.get_domain_id()}"
        return response

    node.create_service(SetBool, name, answer, qos_profile=qos, callback_group=ReentrantCallbackGroup())


def act(node, name, pause):
    from rclpy.action import ActionServer, CancelResponse
    from switchboard_test_interfaces.action import Count

    def execute(goal):
        result = Count.Result()
        for now in range(goal.request.up_to):
            if goal.is_cancel_requested:
                goal.canceled()
                return result
            goal.publish_feedback(Count.Feedback(now=now))
            result.counted.append(now)
            time.sleep(pause)
        goal.succeed()
        return result

    return ActionServer(
        node, Count, name, execute, cancel_callback=lambda _: CancelResponse.ACCEPT,
        callback_group=ReentrantCallbackGroup(),
    )


def main():
    role, name, seconds = [*sys.argv[1:], "0"][:3]
    rclpy.init(args=[])
    node = rclpy.create_node(f"serving{name.replace('/', '_')}")
    one_by_one = role == "one_by_one"
    if role == "count":
        server = act(node, name, float(seconds))
    else:
        server = serve(node, name, float(seconds), qos_profile_services_default if one_by_one else DEPTH)
    executor = SingleThreadedExecutor() if one_by_one else MultiThreadedExecutor(num_threads=128)
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # Whoever is being served gets no answer: threads that are still at work are not waited for.
        del server
        node.destroy_node()
        os._exit(0)


main()
