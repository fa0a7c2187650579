"""The engine of many machines: actors of Ray hold one loaded model each, and the driver hands out items.

The driver alone writes the ledger and gives files their names, so a machine may vanish at any moment: what it had in
hand is put back, and whatever it had written is nobody's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from cosmos_cli import output
from cosmos_cli.batch.desk import Desk
from cosmos_cli.batch.engines import Load
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.ray.actor import Actor, Made, Opened, Surroundings
from cosmos_cli.batch.ray.cluster import Node, Roster, joined, nodes
from cosmos_cli.batch.ray.group import Trouble
from cosmos_cli.batch.ray.watch import Watch
from cosmos_cli.batch.report import Outcome
from cosmos_cli.errors import CosmosError, DiskFull, GuardrailBlocked, InputError
from cosmos_cli.runtime.host import num_cores
from cosmos_cli.runtime.machine import parse_device, torch_version
from cosmos_cli.runtime.memory.steps import read_steps
from cosmos_cli.runtime.workers.worker import read_timeout

Kind = Literal["GPU", "CPU"]

MAX_RETRIES = 3
"""How often an item is made again whose actor died."""
MAX_IN_FLIGHT = 2
"""Items with an actor: one that it makes, and one that it prepares or writes."""
_MAX_LOST = 3
"""Actors that may die on a node before any of them was ready; then it gets no more."""
_LOOK_S = 1.0
_WAIT_FOR_NODES_S = 60.0
_WAIT_FOR_ROOM_S = 60.0
"""That an actor may take to start before it is said that others may have its room."""


class RayEngine:
    """Works on a cluster that `RAY_ADDRESS` names, or on one that it starts on this machine.

    device: as a user names it. num_workers: actors; None for as many as there is room for, on a CPU one per machine.
    num_gpus: of each actor, or processes on the CPU, which make every item together and are on one machine.
    """

    shares_items = True

    def __init__(self, device: str = "auto", num_workers: int | None = None, num_gpus: int = 1) -> None:
        self._kind, number = parse_device(device)
        self._num_workers, self._size = num_workers, num_gpus
        if number is not None:
            raise InputError("names one GPU, but Ray chooses for each actor.", where="--device", fix="Use cuda.")

    def work_off(self, todo: Sequence[Item[Any]], load: Load, desk: Desk) -> list[Outcome]:
        """As `cosmos_cli.batch.engines.Engine`.

        Raises:
            InputError: there is no such cluster, or no node of it has the GPUs that are asked for; or
                `COSMOS_TIMEOUT_S` is no number of seconds.
        """
        read_timeout()
        with joined(max(num_cores(), self._size * (self._num_workers or 1))) as ray, desk.letting_go():
            shift = _Shift(ray, todo, load, desk, self._kind_on(ray), self._size, self._num_workers)
            try:
                return shift.all()
            finally:
                shift.end()

    def _kind_on(self, ray: Any) -> Kind:
        """What actors compute on. Raises InputError: no node has as many as each of them is to have."""
        uses_gpus = self._kind != "cpu" and bool(nodes(ray, "GPU"))
        if self._kind == "cuda" and not uses_gpus:
            raise InputError(
                "asks for GPUs, but no node of the Ray cluster has one.", where="--device", fix="Use --device cpu."
            )
        if self._kind != "cpu" and self._size > 1 and not uses_gpus:
            raise InputError(
                f"asks for {self._size} GPUs, but no node of the Ray cluster has one.",
                where="--num-gpus",
                fix=f"To share each item among {self._size} processes on the CPU, pass --device cpu.",
            )
        kind: Kind = "GPU" if uses_gpus else "CPU"
        most = max((node.room for node in nodes(ray, kind)), default=0)
        if 0 < most < self._size:
            raise InputError(
                f"asks for {self._size} {kind}s for each item, on one node, but no node of the Ray cluster has more "
                f"than {most}.",
                where="--num-gpus",
                fix=f"Pass --num-gpus {most} or less, or add larger nodes to the cluster.",
            )
        return kind


@dataclass
class _Hand:
    """An actor, with the group of processes that it is the first of.

    memory_steps: that it was started with. opening: what tells that its model is loaded; None once it is.
    watch: whether it goes on. flight: what it makes.
    """

    actor: Any
    node: Node
    memory_steps: int
    opening: Any
    watch: Watch
    flight: dict[Any, Item[Any]] = field(default_factory=dict)


class _Shift:
    """One pass over the items."""

    def __init__(
        self,
        ray: Any,
        todo: Sequence[Item[Any]],
        load: Load,
        desk: Desk,
        kind: Kind,
        size: int,
        num_workers: int | None,
    ) -> None:
        self._ray, self._todo, self._desk = ray, todo, desk
        self._roster = Roster(ray, kind, size)
        self._kind, self._size, self._num_workers = kind, size, num_workers
        self._waiting, self._hands, self._outcomes = deque(todo), list[_Hand](), list[Outcome]()
        self._num_deaths, self._begun = Counter[str](), set[str]()
        self._left_behind, self._has_opened = dict[str, Item[Any]](), False
        self._num_lost, self._closed_nodes = Counter[str](), dict[str, Exception]()
        self._memory_steps = defaultdict[str, int](read_steps)
        self._since = self._looked = time.monotonic()
        self._num_shown, self._timeout_s = 0, read_timeout()
        try:
            self._load, self._requests = ray.put(load), ray.put([item.request for item in todo])
        except (TypeError, AttributeError) as error:
            raise CosmosError(f"cannot be sent to other machines: {error}.", where="what the batch loads") from error
        options = {"num_gpus": size, "num_cpus": 0} if kind == "GPU" else {"num_gpus": 0, "num_cpus": size}
        # a thread for each item, and one that says how far they are
        self._remote: Any = ray.remote(max_concurrency=MAX_IN_FLIGHT + 1, max_restarts=0, **options)(Actor)

    def all(self) -> list[Outcome]:
        while len(self._outcomes) < len(self._todo):
            self._hire()
            self._hand_out()
            owed = {hand.opening: hand for hand in self._hands if hand.opening is not None}
            owed |= {reference: hand for hand in self._hands for reference in hand.flight}
            if not owed:
                time.sleep(_LOOK_S)
                continue
            came, _ = self._ray.wait(list(owed), num_returns=1, timeout=_LOOK_S)
            for reference in came:
                self._receive(owed[reference], reference)
            self._look_after()
        return self._outcomes

    def end(self) -> None:
        """Let the actors go; what they were at is nobody's."""
        self._roster.end()
        for hand in list(self._hands):
            self._let_go(hand)
        for item in self._left_behind.values():
            self._desk.clear_remains(item)  # who was told to go may have been writing still

    # Actors

    def _hire(self) -> None:
        """Have as many actors as there are items for, where there is room for them."""
        found = [node for node in self._roster.nodes() if node.id not in self._closed_nodes]
        room = sum(node.room for node in found)
        if not room and not self._hands:
            self._without_nodes()
            return
        self._since = time.monotonic()
        here = Counter(hand.node.id for hand in self._hands)
        # nodes that get no more still have those that had loaded
        num_elsewhere = len(self._hands) - sum(here[node.id] for node in found)
        at_most = self._num_workers or num_elsewhere + (room if self._kind == "GPU" else len(found))
        wanted = min(at_most, num_elsewhere + room, len(self._todo) - len(self._outcomes))
        chosen = list[Node]()
        while len(self._hands) + len(chosen) < wanted:
            free = [node for node in found if here[node.id] < node.room]
            if not free:
                break
            node = min(free, key=lambda node: (self._num_lost[node.id], here[node.id], -node.room))
            here[node.id] += 1
            chosen.append(node)
        for node in chosen:
            self._hands.append(self._hired(node, num_processes=here[node.id] * self._size))

    def _hired(self, node: Node, num_processes: int) -> _Hand:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        device = "cuda" if self._kind == "GPU" else "cpu"
        actor = self._remote.options(scheduling_strategy=there).remote(self._size, device)
        output.status(f"Loading on {node.name}")
        steps = self._memory_steps[node.id]
        surroundings = Surroundings.here(num_processes, node.num_cpus, steps)
        opening = actor.open.remote(surroundings, self._load, self._requests)
        return _Hand(actor, node, steps, opening, Watch(self._ray, actor, self._timeout_s, self._size))

    def _look_after(self) -> None:
        """End actors that hang, and tell of those for which there is no room."""
        now = time.monotonic()
        # more has passed only where this process was held up itself, and so has not heard anybody
        seconds, self._looked = min(now - self._looked, 2 * _LOOK_S), now
        for hand in list(self._hands):
            if hand.opening is None and not hand.flight:
                hand.watch.heard()
            before_s = hand.watch.waited_s
            hang = hand.watch.look(seconds, is_loading=hand.opening is not None)
            if before_s < _WAIT_FOR_ROOM_S <= hand.watch.waited_s:
                output.status(f"Still waiting for {hand.node.name}: others may have its {self._kind}s")
            if hang is not None:
                names = " and ".join(item.name for item in hand.flight.values()) or "what it loads"
                output.notice(f"an actor on {hand.node.name} is ended, with {names}: {hang}")
                self._lose(hand, str(hang))

    def _without_nodes(self) -> None:
        """Raises CosmosError: why there is no node to work on, once that is sure."""
        if self._closed_nodes:
            raise next(iter(self._closed_nodes.values()))
        if time.monotonic() - self._since > _WAIT_FOR_NODES_S:
            raise CosmosError(
                f"No node of the Ray cluster has had a {self._kind} for {_WAIT_FOR_NODES_S:.0f} s.",
                fix="Start nodes, and the same command again.",
            )

    def _close_node(self, hand: _Hand, error: Exception) -> None:
        """Start no more actors on a node; one of its GPUs may be to blame, and not all, so others there go on."""
        if self._closed_nodes.setdefault(hand.node.id, error) is error:
            output.notice(f"no more is loaded on {hand.node.name}: {error}")

    # Items

    def _hand_out(self) -> None:
        for item in list(self._waiting):
            ready = [hand for hand in self._hands if self._takes_more(hand)]
            if not ready:
                return
            hand = min(ready, key=lambda hand: len(hand.flight))
            if hand.flight and self._num_deaths[item.key]:
                continue
            self._waiting.remove(item)
            self._give(hand, item)

    def _takes_more(self, hand: _Hand) -> bool:
        """What has died with an actor goes alone: of two, nobody could tell which has killed it."""
        is_alone = any(self._num_deaths[item.key] for item in hand.flight.values())
        return hand.opening is None and len(hand.flight) < MAX_IN_FLIGHT and not is_alone

    def _give(self, hand: _Hand, item: Item[Any]) -> None:
        if item.key not in self._begun:
            if self._desk.was_begun(item):
                self._left_behind[item.key] = item
            self._desk.begin(item)
            self._begun.add(item.key)
            try:
                self._desk.claim(item)
            except CosmosError as error:
                self._outcomes.append(self._desk.fail(item, error))
                return
            self._num_shown += 1
            output.status(f"[{self._num_shown}/{len(self._todo)}] {item.name} on {hand.node.name}")
        if not hand.flight:
            hand.watch.heard()
        hand.flight[hand.actor.make.remote(item)] = item

    def _receive(self, hand: _Hand, reference: Any) -> None:
        from ray.exceptions import RayError, RayTaskError

        if hand not in self._hands:
            return
        hand.watch.heard()
        try:
            answer = self._ray.get(reference)
        except RayTaskError as error:
            answer = CosmosError(f"cannot be sent back by {hand.node.name}: {error.cause}.")
        except RayError as error:
            self._lose(hand, " ".join(str(error).split()))
            return
        if isinstance(answer, Trouble):
            self._give_up(hand, answer)
        elif reference == hand.opening:
            self._opened(hand, answer)
        else:
            self._made(reference, hand, answer)

    def _opened(self, hand: _Hand, answer: Opened | CosmosError) -> None:
        hand.opening = None
        if isinstance(answer, CosmosError):
            self._not_opened(hand, answer)
            return
        for text in answer.notices:
            output.notice(text)
        if answer.error is not None:
            self._not_opened(hand, answer.error.error())
            return
        there, here = (version.partition("+")[0] for version in (answer.torch, torch_version()))
        if there != here:
            output.notice(f"{hand.node.name} has PyTorch {there}, and this machine {here}: videos may differ a little")
        self._has_opened = True
        self._num_lost[hand.node.id] = 0

    def _not_opened(self, hand: _Hand, error: Exception) -> None:
        self._let_go(hand)
        # where others have loaded for the same prompts, it is the guardrails of this node that cannot be had
        if isinstance(error, GuardrailBlocked) and not self._has_opened:
            raise error
        self._close_node(hand, error)

    def _made(self, reference: Any, hand: _Hand, answer: Made | CosmosError) -> None:
        error = answer.error.error() if isinstance(answer, Made) and answer.error else None
        if isinstance(error, DiskFull):  # no fault of the item, and those behind it would be made in vain there
            self._vacate(hand, error)
            return
        item = hand.flight.pop(reference)
        if isinstance(answer, CosmosError):
            self._left_behind[item.key] = item
            self._fail(item, answer)
            return
        for text in answer.notices:
            output.notice(text)
        if error is None:
            assert answer.written is not None
            assert answer.known is not None
            try:
                self._desk.take_in(item, answer.written, answer.known, answer.seconds)
            except DiskFull:
                self._left_behind[item.key] = item
                raise
            except CosmosError as raised:
                error = raised
                self._left_behind[item.key] = item
        if error is not None:
            self._fail(item, error, answer.seconds)
        else:
            self._clear(item)
            self._outcomes.append(self._desk.close(item, seconds=answer.seconds, result=answer.result))

    def _fail(self, item: Item[Any], error: Exception, seconds: float = 0.0) -> None:
        self._clear(item)
        self._outcomes.append(self._desk.fail(item, error, seconds))

    def _clear(self, item: Item[Any]) -> None:
        """Of no other item: for each it takes a look at all that lies in its folder."""
        if item.key in self._left_behind:
            self._desk.clear_remains(item)

    def _give_up(self, hand: _Hand, trouble: Trouble) -> None:
        """Put back what processes had in hand that cannot go on together, but for an item that is the cause."""
        ending = trouble.ending
        if trouble.told is None or ending.kind == "lost contact":
            self._lose(hand, str(ending.error()))
            return
        if ending.kind == "out of memory":
            output.notice(f"out of memory on {hand.node.name}: its processes start again with {ending.below}")
            self._memory_steps[hand.node.id] = max(self._memory_steps[hand.node.id], hand.memory_steps + 1)
        elif hand.opening is not None:
            self._not_opened(hand, trouble.told.error())
            return
        self._let_go(hand)
        for item in hand.flight.values():
            if item.key == trouble.key and ending.kind != "out of memory":
                self._fail(item, ending.error() or trouble.told.error())
            else:
                self._waiting.append(item)

    def _vacate(self, hand: _Hand, error: Exception) -> None:
        """Put back what an actor has in hand that can make nothing more; nor could others on its node."""
        self._let_go(hand)
        self._waiting.extend(hand.flight.values())
        hand.flight.clear()
        self._close_node(hand, error)

    def _let_go(self, hand: _Hand) -> None:
        self._hands.remove(hand)
        self._left_behind |= {item.key: item for item in hand.flight.values()}
        with suppress(Exception):
            self._ray.kill(hand.actor, no_restart=True)

    def _lose(self, hand: _Hand, why: str) -> None:
        """Put back what an actor had in hand that has died."""
        self._let_go(hand)
        if hand.opening is not None:
            self._num_lost[hand.node.id] += 1
            if self._num_lost[hand.node.id] >= _MAX_LOST:
                self._close_node(hand, CosmosError(f"its processes die while they load: {why}"))
            return
        if hand.flight:
            names = " and ".join(item.name for item in hand.flight.values())
            output.status(f"lost an actor on {hand.node.name}; {names}: put back")
        for item in hand.flight.values():
            self._num_deaths[item.key] += 1
            if self._num_deaths[item.key] > MAX_RETRIES:
                what = f"The process that made it died, {MAX_RETRIES + 1} times; the last on {hand.node.name}: {why}"
                self._fail(item, CosmosError(what))
            else:
                self._waiting.append(item)
        hand.flight.clear()


def ray_engine(device: str, settings: Any, num_workers: int | None) -> RayEngine:
    """The engine that `--engine ray` names; imports no Ray before it works."""
    return RayEngine(device, num_workers, settings.num_gpus)
