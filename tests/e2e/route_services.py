"""The services with which rules are shown, added and removed on a robot or operator that runs."""

import contextlib

from switchboard.srv import AddRule, ListRoutes, RemoveRule

from waiting import wait_for

NODE = "/switchboard_robot"


def add(graph, section, rule, first=False):
    answer = graph.call(AddRule, f"{NODE}/add_rule", section=section, rule=rule, first=first)
    assert answer.success, answer.message
    return answer.id


def remove(graph, rule_id):
    answer = graph.call(RemoveRule, f"{NODE}/remove_rule", id=rule_id)
    assert answer.success, answer.message
    return answer.rule


@contextlib.contextmanager
def rules(*wanted):
    """Has each of `wanted`, which are (graph, section, rule), in force for a while."""
    added = [(graph, add(graph, section, rule)) for graph, section, rule in wanted]
    try:
        yield
    finally:
        for graph, rule_id in added:
            remove(graph, rule_id)


def routes(graph):
    return graph.call(ListRoutes, f"{NODE}/routes").routes


def route(graph, exchange_name, condition=lambda route: True):
    """The route of that name, as soon as `condition` holds for it."""

    def holds():
        return [found for found in routes(graph) if found.exchange_name == exchange_name and condition(found)]

    return wait_for(holds, lambda: f"a route {exchange_name} as wanted; there are {routes(graph)}")[0]
