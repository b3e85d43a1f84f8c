"""Circles, levels and upward edges of a graph of imports: a Counter of `(from, to)` -> names imported."""

import random
from collections import Counter

import networkx as nx

from benchmarks.source_tree import OUTSIDE


def circles(graph: Counter) -> list[list[str]]:
    """Sets of nodes that all reach one another, largest first."""
    found = [sorted(each) for each in nx.strongly_connected_components(nx.DiGraph(list(graph))) if len(each) > 1]
    return sorted(found, key=lambda each: (-len(each), each))


def levels(graph: Counter) -> int:
    """Nodes on the longest path of a graph without circles."""
    return nx.dag_longest_path_length(nx.DiGraph(list(graph))) + 1


def upward(graph: Counter, layers: list[set[str]] | None) -> Counter:
    """The part of a graph of units that does not run down: by layers, or what a good order of each knot leaves."""
    if layers is None:
        orders = [{name: place for place, name in enumerate(best_order(graph, knot))} for knot in circles(graph)]
        return Counter({pair: n for pair, n in graph.items() for order in orders if not downward(order, *pair, True)})
    order = {name: place for place, layer in enumerate(layers) for name in layer}
    inside = {pair: n for pair, n in graph.items() if pair[0] not in OUTSIDE or pair[1] not in OUTSIDE}
    return Counter({pair: n for pair, n in inside.items() if not downward(order, *pair, False)})


def downward(order: dict[str, int], source: str, target: str, otherwise: bool) -> bool:
    return order[source] < order[target] if source in order and target in order else otherwise


def best_order(graph: Counter, knot: list[str], starts: int = 20) -> list[str]:
    """The units of a knot from the highest down, so that few names are imported upwards: each unit is moved to its best
    place until nothing changes, from several orders drawn with fixed seeds."""

    def cost(order: list[str]) -> int:
        place = {name: at for at, name in enumerate(order)}
        return sum(n for (source, target), n in edges if place[source] > place[target])

    edges = [(pair, n) for pair, n in graph.items() if set(pair) <= set(knot)]
    best = knot
    for seed in range(starts):
        order, before = random.Random(seed).sample(knot, len(knot)), None
        while before != order:
            before = order
            for name in knot:
                order = moved(graph, order, name)
        best = min(best, order, key=cost)
    return best


def moved(graph: Counter, order: list[str], name: str) -> list[str]:
    """The order with one unit where the fewest names run upwards to it or from it."""
    others = [other for other in order if other != name]
    costs = [sum(graph[other, name] for other in others)]
    for other in others:
        costs.append(costs[-1] + graph[name, other] - graph[other, name])
    here = order.index(name)
    place = here if costs[here] == min(costs) else costs.index(min(costs))
    return [*others[:place], name, *others[place:]]
