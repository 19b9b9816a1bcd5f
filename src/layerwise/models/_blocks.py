"""Which calls are the blocks of a network: the places where people look.

A *stack* holds modules that run one after the other, each on what the one before gave. Its members
are blocks, unless a member is a stack itself: then the member is a stage and its members count.
Evidence is the traced forward (who got whose output), so experts, parallel branches and densely
connected layers, which do not hand on one stream, are no blocks of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from torch import nn

from layerwise.models._kinds import is_container, is_leaf, kind_of, mixers
from layerwise.models._record import Call, Flow, Recording
from layerwise.models._towers import JOINT, side_of

Unit = tuple[str, int]
"""A call, as the module's name and the number of the call."""


@final
@dataclass(frozen=True)
class Outline:
    """The calls that stand for a network at block level.

    Args:
        blocks: in the order of execution.
        stages: modules whose members are blocks.
        stems: what flows into the first block of a chain.
        finals: the last norm or map after a chain, before anything is pooled or classified; in one
            side of a network of pictures and texts, what both share as well.
        head: the last linear map, where the network ends in one.
    """

    blocks: tuple[Unit, ...]
    stages: frozenset[str]
    stems: tuple[Unit, ...]
    finals: tuple[Unit, ...]
    head: Unit | None

    def kind(self, unit: Unit) -> str | None:
        """The word for a call that has a part in the outline."""
        if unit == self.head:
            return "head"
        if unit in self.blocks:
            return "block"
        if unit in self.finals:
            return "final"
        if unit in self.stems:
            return "stem"
        return "stage" if unit[0] in self.stages else None


def outline(modules: Mapping[str, nn.Module], recording: Recording) -> Outline:
    """Find the blocks of a recorded forward, and what stands before and after them."""
    return _Search(modules, recording).outline()


class _Search:
    def __init__(self, modules: Mapping[str, nn.Module], recording: Recording) -> None:
        self.modules = modules
        self.calls = sorted(recording.calls, key=lambda call: call.began)
        self.by_module: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            self.by_module[call.module].append(call)
        self.heavy = {name: mixers(module) > 1 for name, module in modules.items()}
        self.stages: set[str] = set()
        self.stack_classes = {
            type(module)
            for name, module in modules.items()
            if not is_container(module) and self._is_stack(name, None)
        }

    def outline(self) -> Outline:
        groups = [group for group in self._groups(".", None) if group]
        plain = not groups
        groups = groups or [chain for chain in [self._leaf_chain()] if chain]
        groups.sort(key=lambda group: group[0].began)
        blocks = [call for group in groups for call in group]
        stems, finals = [], []
        outside = self._outside(blocks)
        groups = [part for group in groups for part in self._streams(group, outside)]
        for i, group in enumerate(groups):
            if not plain and (i == 0 or not self._leads_on(groups[i - 1], group, outside)):
                stems += self._producer(group[0], outside)
            if i == len(groups) - 1 or not self._leads_on(group, groups[i + 1], outside):
                finals += self._final(group[-1], [c for c in outside if group[-1].ended < c.began])
        if side_of(self.modules["."]):
            finals += self.by_module[JOINT]
        return Outline(
            tuple(map(_unit, sorted(blocks, key=lambda call: call.ended))),
            frozenset(self.stages),
            tuple(_unit(call) for call in stems if call not in blocks),
            tuple(map(_unit, finals)),
            self._head(outside),
        )

    def _children(self, name: str) -> list[str]:
        prefix = "" if name == "." else f"{name}."
        inner = (f"{prefix}{child}" for child, _ in self.modules[name].named_children())
        return [child for child in inner if child in self.modules]

    def _units(self, name: str) -> list[Call]:
        """Calls of the members in order; those of the first run, where the module itself runs."""
        calls = [call for child in self._children(name) for call in self.by_module.get(child, ())]
        own = self.by_module.get(name)
        if own:
            calls = [call for call in calls if own[0].began < call.began < own[0].ended]
        return sorted((c for c in calls if c.outputs), key=lambda call: call.began)

    def _is_stack(self, name: str, around: str | None) -> bool:
        """Whether the members of a module are a chain of blocks; `around` is the stack it is in."""
        module, units = self.modules[name], self._units(name)
        heavy = [call for call in units if self.heavy[call.module]]
        # Between the members of a list anything may stand, and between those of the whole network
        # other members. Inside a block a norm may hand what one attention gives to the next: no
        # chain of blocks, so there the way must be direct.
        between = self.calls if is_container(module) else units if name == "." else []
        if not heavy or not self._chained(heavy, between):
            return False
        working = sum(mixers(self.modules[call.module]) > 0 for call in units)
        classes = Counter(type(self.modules[call.module]) for call in heavy)
        repeated = classes.most_common(1)[0][1] > 1
        if is_container(module):
            if around is not None:  # the parts of a block may repeat too, but not one class alone
                return len(classes) == 1 and (repeated or working == 1)
            return repeated and 2 * len(heavy) >= working
        if around is not None and is_container(self.modules[around]):
            return False  # a member of a list of blocks that runs its parts itself is a block
        if type(module) in getattr(self, "stack_classes", ()):
            return True
        return repeated and (name == "." or len(classes) == 1)

    def _chained(self, heavy: list[Call], between: list[Call]) -> bool:
        """Whether every unit works on what flowed on from the one before, and only on that."""
        earlier: set[object] = set()
        for before, after in pairwise(heavy):
            given = _places(before.outputs)
            if before.ended > after.began:
                return False
            for call in between:
                within = before.ended < call.began and call.ended < after.began
                if within and _places(call.inputs) & given:
                    given |= _places(call.outputs)
            taken = _places(after.inputs)
            if not taken & given or taken & (earlier - given):
                return False
            earlier |= given
        return True

    def _groups(self, name: str, around: str | None) -> list[list[Call]]:
        if not self._is_stack(name, around):
            return self._groups_inside(name, around)
        members: dict[Unit, Call] = {}
        for call in self._units(name):
            if not self.heavy[call.module]:
                continue
            inner = self._groups(call.module, name)
            if len(inner) == 1 and inner[0] != [call]:
                self.stages.add(call.module)
                members |= {_unit(part): part for part in inner[0]}
            elif inner or not is_container(self.modules[call.module]):
                members[_unit(call)] = call  # a mere list of leaves beside blocks is a stem
        return [list(members.values())]

    def _groups_inside(self, name: str, around: str | None) -> list[list[Call]]:
        own = self.by_module.get(name)
        found = {child: self._groups(child, around) for child in self._children(name)}
        # A list of stacks that its owner runs side by side: branches, so the owner is the block.
        branching = [child for child, groups in found.items() if len(groups) > 1]
        if own and name != "." and any(child not in self.by_module for child in branching):
            return [own[:1]]
        return [group for groups in found.values() for group in groups]

    def _streams(self, group: list[Call], outside: list[Call]) -> list[list[Call]]:
        """Cut a chain where words are embedded anew: an encoder and a decoder are two streams."""
        words = [c.began for c in outside if isinstance(self.modules[c.module], nn.Embedding)]
        streams = [group[:1]]
        for before, after in pairwise(group):
            if any(before.ended < began < after.began for began in words):
                streams.append([])
            streams[-1].append(after)
        return streams

    def _leaf_chain(self) -> list[Call]:
        """Plain chains of leaves: each weight layer, read after its norms and activations."""
        chain: list[Call] = []
        open_group = False
        for call in sorted(self.calls, key=lambda call: call.ended):
            module = self.modules[call.module]
            if not is_leaf(module) or not call.outputs:
                continue
            if mixers(module):
                chain.append(call)
                open_group = True
            elif open_group and kind_of(module) in ("norm", "activation"):
                chain[-1] = call
            else:
                open_group = False
        head = self._head(self.calls)
        return [call for call in chain if _unit(call) != head] or chain

    def _outside(self, blocks: list[Call]) -> list[Call]:
        """Outermost calls that neither hold a block nor lie in one, in order."""
        found: list[Call] = []
        for call in self.calls:
            apart = all(call.ended < b.began or b.ended < call.began for b in blocks)
            if apart and (not found or found[-1].ended < call.began):
                found.append(call)
        return found

    def _producer(self, block: Call, outside: list[Call]) -> list[Call]:
        wanted = _places(_stream(block))
        givers = [
            call for call in outside if call.ended < block.began and wanted & _places(call.outputs)
        ]
        return givers[:1]  # identities and dropouts after it hand on the same tensor

    def _leads_on(self, group: list[Call], other: list[Call], outside: list[Call]) -> bool:
        """Whether what one chain gives flows into the stream of the next."""
        reached = _places(group[-1].outputs)
        for call in outside:
            if group[-1].ended < call.began < other[0].began and _places(call.inputs) & reached:
                reached |= _places(call.outputs)
        return bool(_places(_stream(other[0])) & reached)

    def _final(self, block: Call, after: list[Call]) -> list[Call]:
        """The last layer with parameters that still has the places of the last block."""
        found: list[Call] = []
        for call in after:
            module = self.modules[call.module]
            if kind_of(module) in ("pool", "head", "embedding") or isinstance(module, nn.Linear):
                break
            if not call.outputs or not _keeps_places(block, call):
                break
            if next(module.parameters(), None) is not None:
                found.append(call)
        return found[-1:]

    def _head(self, outside: list[Call]) -> Unit | None:
        linear = [call for call in outside if isinstance(self.modules[call.module], nn.Linear)]
        last = max(self.calls, key=lambda call: call.ended)
        ends = _places(last.outputs)
        heads = [call for call in linear if _places(call.outputs) & ends]
        return _unit(heads[-1]) if heads else None


def _keeps_places(block: Call, call: Call) -> bool:
    before, now = block.outputs[0].shape, call.outputs[0].shape
    pooled = len(now) == 4 and now[2:] == (1, 1) != before[2:]
    return len(now) == len(before) and not pooled


def _unit(call: Call) -> Unit:
    return call.module, call.index


def _stream(call: Call) -> list[Flow]:
    """What flows in by the first argument: the stream that a block works on."""
    return [flow for flow in call.inputs if flow.path[0] == call.inputs[0].path[0]]


def _places(flows: Iterable[Flow]) -> set[object]:
    return {flow.place for flow in flows}
