"""An independent peer of the tests: rclpy, which shares no code with the bridge above rcl.

Prints one line of JSON for each thing that happened, and ends when its standard input does.
"""

import json
import os
import sys
import threading
import time

import rclpy
from rclpy.executors import MultiThreadedExecutor
from std_srvs.srv import SetBool, Trigger


def tell(**what):
    print(json.dumps(what), flush=True)


def serve(node, name):
    def set_bool(request, response):
        response.success = request.data
        response.message = f"rclpy was told {request.data}"
        return response

    def trigger(_, response):
        response.success = True
        response.message = "x" * 1_000_000
        return response

    node.create_service(SetBool, f"{name}/set", set_bool)
    node.create_service(Trigger, f"{name}/trigger", trigger)
    tell(ready=True)


def serve_slowly(node, name):
    def set_bool(request, response):
        time.sleep(0.02)
        response.message = "at last"
        return response

    node.create_service(SetBool, f"{name}/set", set_bool)
    tell(ready=True)


def call(node, name):
    def work():
        for kind, service, request in [
            (SetBool, "set", SetBool.Request(data=True)),
            (Trigger, "trigger", Trigger.Request()),
        ]:
            client = node.create_client(kind, f"{name}/{service}")
            client.wait_for_service()
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _, done=done: done.set())
            done.wait()
            response = future.result()
            tell(service=service, success=response.success, message=response.message)

    threading.Thread(target=work, daemon=True).start()


def serve_action(node, name):
    from rclpy.action import ActionServer, CancelResponse
    from switchboard_test_interfaces.action import Count

    go_on = threading.Event()

    def execute(goal):
        result = Count.Result()
        for now in range(goal.request.up_to):
            if goal.is_cancel_requested:
                goal.canceled()
                return result
            goal.publish_feedback(Count.Feedback(now=now))
            result.counted.append(now)
            # Far more than anybody counts: until it is cancelled.
            go_on.wait(0.01 if goal.request.up_to > 1_000 else 0)
        goal.succeed()
        return result

    server = ActionServer(
        node, Count, name, execute, cancel_callback=lambda _: CancelResponse.ACCEPT
    )
    tell(ready=True)
    return server


def act(node, name):
    from rclpy.action import ActionClient
    from switchboard_test_interfaces.action import Count

    def wait(future):
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        done.wait()
        return future.result()

    client = ActionClient(node, Count, name)

    def work():
        client.wait_for_server()
        tell(found=True)
        feedback = []
        goal = wait(
            client.send_goal_async(
                Count.Goal(up_to=5), lambda message: feedback.append(message.feedback.now)
            )
        )
        result = wait(goal.get_result_async())
        tell(
            accepted=goal.accepted,
            status=result.status,
            counted=list(result.result.counted),
            heard=sorted(feedback) == feedback and set(feedback) <= set(range(5)),
        )
        started = threading.Event()
        goal = wait(client.send_goal_async(Count.Goal(up_to=100_000), lambda _: started.set()))
        # The second has feedback for certain: it runs until it is cancelled.
        started.wait()
        result = goal.get_result_async()
        canceled = wait(goal.cancel_goal_async())
        tell(canceling=len(canceled.goals_canceling), status=wait(result).status)

    threading.Thread(target=work, daemon=True).start()
    return client


def exchange(node, name):
    from geometry_msgs.msg import Point
    from switchboard_test_interfaces.msg import Thing
    from switchboard_test_interfaces.srv import Exchange

    def answer(request, response):
        first = request.things[0]
        response.success = True
        response.count = len(request.things)
        response.message = first.wide + "!"
        response.reason = request.brief
        response.first = first
        return response

    def work():
        things = [
            Thing(
                name=f"thing {n}",
                wide="wüde 🤖",
                numbers=[0.5, float(n)],
                places=[Point(x=1.0, y=2.0, z=float(n))],
                id=list(range(16)),
            )
            for n in range(3)
        ]
        client = node.create_client(Exchange, f"{name}/there")
        client.wait_for_service()
        for brief in ["brief", "fail"]:
            done = threading.Event()
            future = client.call_async(Exchange.Request(things=things, brief=brief))
            future.add_done_callback(lambda _, done=done: done.set())
            done.wait()
            response = future.result()
            tell(
                success=response.success,
                count=response.count,
                message=response.message,
                reason=response.reason,
                same=response.first == things[0],
            )

    node.create_service(Exchange, f"{name}/here", answer)
    tell(ready=True)
    threading.Thread(target=work, daemon=True).start()


def crowd(nodes, name, number):
    """So many services, spread over these nodes."""
    for n in range(number):
        nodes[n % len(nodes)].create_service(Trigger, f"{name}/s{n}", lambda _, response: response)
    tell(ready=True)


def main():
    role, name, *rest = sys.argv[1:]
    rclpy.init()
    executor = MultiThreadedExecutor(4)
    nodes = []
    for n in range(int(rest[0]) if rest else 1):
        nodes.append(rclpy.create_node(f"peer_{role}_{n}", start_parameter_services=False))
        executor.add_node(nodes[-1])
    if role == "crowd":
        kept = crowd(nodes, name, int(rest[1]))
    else:
        roles = [serve, serve_slowly, call, serve_action, act, exchange]
        kept = {f.__name__: f for f in roles}[role](nodes[0], name)
    threading.Thread(target=executor.spin, daemon=True).start()
    sys.stdin.read()
    del kept
    # Clean ends of rclpy are not what is tested.
    os._exit(0)


main()
