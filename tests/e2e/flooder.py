"""A program that publishes numbered messages as fast as the middleware lets it, in a process of its own: a blocked publisher
holds up every thread of a Python process.

    python3 flooder.py TOPIC COUNT SIZE LIVES_ON

It ends when all is acknowledged, or, if LIVES_ON is 1, lives until it is killed.

It waits for a subscription first. A full KEEP_ALL writer blocks, and then says that it could not publish: then the same
message is published again, so none is left out.
"""

import signal
import sys
import time

from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

KEEP_ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)


def text(number, size):
    return f"{number:08d}".ljust(size, ".")


def main(topic, count, size, lives_on):
    context = Context()
    context.init(args=[])
    node = Node("flooder", context=context, use_global_arguments=False, enable_rosout=False)
    publisher = node.create_publisher(String, topic, KEEP_ALL)
    while publisher.get_subscription_count() == 0:
        time.sleep(0.01)
    print("begins", flush=True)
    began = time.monotonic()
    refused = 0
    for number in range(count):
        message = String(data=text(number, size))
        while True:
            try:
                publisher.publish(message)
                break
            except Exception as error:  # rclpy has a class of its own for each way of failing
                if "publish" not in str(error):
                    raise
                refused += 1
    print(f"published {count} in {time.monotonic() - began:.2f} s, refused {refused} times", flush=True)
    # What was not acknowledged yet would go with the node.
    while not publisher.wait_for_all_acked():
        pass
    print("acknowledged", flush=True)
    if lives_on:
        signal.pause()
    node.destroy_node()
    context.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
