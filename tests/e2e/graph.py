"""rclpy as the independent peer: one ROS graph (domain) per object, any number of them in one process."""

import threading

from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from waiting import wait_for

RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Graph:
    """A node of the test in the domain `domain`."""

    def __init__(self, domain, name="test"):
        self.domain = domain
        self.context = Context()
        self.context.init(args=[], initialize_logging=False, domain_id=domain)
        self.node = Node(
            f"{name}_{domain}", context=self.context, use_global_arguments=False, enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=f"graph {domain}", daemon=True)
        self._thread.start()
        self._clients = {}

    def _spin(self):
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def close(self):
        self.context.shutdown()
        self._executor.shutdown()
        self._thread.join(10)
        self.node.destroy_node()
        assert not self._thread.is_alive(), f"the node in domain {self.domain} does not stop"

    def new_node(self, name):
        """One more node in this graph; end it with `end_node`."""
        node = Node(
            name, context=self.context, use_global_arguments=False, enable_rosout=False, start_parameter_services=False
        )
        self.run(lambda: self._executor.add_node(node))
        return node

    def end_node(self, node):
        def end():
            self._executor.remove_node(node)
            node.destroy_node()

        self.run(end)

    def run(self, action):
        """Runs `action` in the executor's thread, and returns what it returns: rclpy does not stand it when nodes change while
        that thread waits for them."""
        outcome = []
        done = threading.Event()

        def run():
            try:
                outcome.append(action())
            finally:
                done.set()

        self._executor.create_task(run)
        assert done.wait(30), f"the executor of domain {self.domain} does not run any more"
        return outcome[0]

    def publisher(self, message_type, topic, qos=RELIABLE):
        return self.node.create_publisher(message_type, topic, qos)

    def collect(self, message_type, topic, qos=RELIABLE, raw=False):
        return Collector(self.node, message_type, topic, qos, raw)

    def destroy(self, *endpoints):
        def end():
            for endpoint in endpoints:
                if isinstance(endpoint, Collector):
                    self.node.destroy_subscription(endpoint.subscription)
                else:
                    self.node.destroy_publisher(endpoint)

        self.run(end)

    def topics(self):
        """Names of the topics that anybody else but this node publishes, hidden ones left out."""
        return {
            name
            for name, _ in self.node.get_topic_names_and_types()
            if any(end.node_name != self.node.get_name() for end in self.node.get_publishers_info_by_topic(name))
        }

    def call(self, service_type, name, limit=15, **fields):
        """Calls a service and returns its answer."""
        key = (service_type, name)
        if key not in self._clients:
            self._clients[key] = self.node.create_client(service_type, name)
        client = self._clients[key]
        assert client.wait_for_service(limit), f"no service {name} in domain {self.domain}"
        future = client.call_async(service_type.Request(**fields))
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(limit), f"{name} did not answer within {limit} s"
        return future.result()


class Collector:
    """Keeps what arrives on a topic."""

    def __init__(self, node, message_type, topic, qos, raw):
        self.topic = topic
        self.messages = []
        self._lock = threading.Lock()
        self._node = node
        self.subscription = node.create_subscription(message_type, topic, self._take, qos, raw=raw)

    def _take(self, message):
        with self._lock:
            self.messages.append(message)

    def snapshot(self):
        with self._lock:
            return list(self.messages)

    def clear(self):
        with self._lock:
            self.messages.clear()

    @property
    def latest(self):
        with self._lock:
            return self.messages[-1] if self.messages else None

    def wait_until(self, condition, what, limit=30.0):
        """The first message that is kept, or comes, for which `condition` holds."""
        seen = 0

        def found():
            nonlocal seen
            messages = self.snapshot()
            for message in messages[seen:]:
                if condition(message):
                    return [message]
            seen = len(messages)
            return None

        return wait_for(found, lambda: f"{what} on {self.topic}; the latest was {str(self.latest)[:1500]}", limit)[0]


def prime(publisher, collector, message, mark, limit=30.0):
    """Publishes `message(text)` until the first arrives at `collector`, waits for the last of them, and forgets all.
    After that the whole route stands, and every further message counts. `mark(message)` gives the text back."""
    published = 0
    collector.clear()

    def arrived():
        nonlocal published
        publisher.publish(message(f"prime {published}"))
        published += 1
        return collector.messages

    wait_for(arrived, f"a first message on {collector.topic}", limit)
    publisher.publish(message("primed"))
    collector.wait_until(lambda received: mark(received) == "primed", "the last message of priming", limit)
    collector.clear()
