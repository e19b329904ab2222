"""What can be called at a gateway, and who answers: models by name and version, rules of names, models of the store."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection
from dataclasses import replace

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.gateway.call import Route
from synfire.gateway.coming import Coming
from synfire.gateway.gate import Gate
from synfire.gateway.inputs import Intake
from synfire.gateway.limits import Limits
from synfire.gateway.model import Model
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.outputs import Outlet
from synfire.gateway.sessions import Sessions
from synfire.gateway.side import Side
from synfire.gateway.traffic import Traffic, choose
from synfire.store.names import DEFAULT_VERSION, LATEST
from synfire.wire.traffic import Rule


class Directory:
    """The served models. Made and used in one event loop; `clock` dates their sessions."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self.limits = limits or Limits()
        self.traffic = Traffic()
        """The rules by which names answer that are more than a model's."""

        self.on_demand: OnDemand | None = None
        """The models of the store, where these are loaded when they are called."""

        self.coming = Coming(self.limits)
        """Names that are to be served, and are not yet: their calls are held."""

        self.unsure: Callable[[str], str] = lambda name: ""
        """Why a name that nothing answers may be answered soon: then nobody is told that there is none."""

        self._clock = clock or SystemClock()
        self._models: dict[str, dict[str, Model]] = {}
        self._newest: dict[str, Model] = {}
        self._ids = (f"{os.getpid():x}-{n}" for n in itertools.count(1))

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every model, by name, then in the order of being added."""
        return tuple(model for name in sorted(self._models) for model in self._models[name].values())

    def add(self, name: str, route: Route, version: str = DEFAULT_VERSION, priority: int = 0) -> Model:
        """Serve `route` under a name and version. The highest version answers calls that name none; where one of them is no number,
        the one added last.

        `priority` is told to whoever asks; whoever places the model goes by it.
        """
        if not name or "@" in name or not version or set("/@") & set(version):
            raise UserError(
                f"model {name!r} version {version!r}: names are not empty and hold no '@', and versions no '/' either"
            )
        if version in self._models.get(name, {}):
            raise UserError(f"model {name!r} version {version!r} is served already; remove it first or name another")
        limits = self.limits
        model = Model(
            name,
            version,
            route,
            Intake(route.graph, limits),
            Outlet(route.graph),
            Gate(name, limits),
            Sessions(name, limits, self._clock),
            limits.open_ended_timeout_s if route.graph.open_ended else limits.timeout_s,
            priority,
        )
        versions = self._models.setdefault(name, {})
        versions[version] = model
        self._newest[name] = versions[newest(versions)]
        return model

    def remove(self, name: str, version: str = "") -> Route:
        """Stop to serve a model, and return its route; calls that it accepted go on."""
        model = self.model(name, version)
        versions = self._models[model.name]
        del versions[model.version]
        if versions:
            self._newest[model.name] = versions[newest(versions)]
        else:
            del self._models[model.name], self._newest[model.name]
        return model.route

    def model(self, name: str, version: str = "") -> Model:
        """The model called `name` or `name@version`; without a version the newest. Of a name that answers by a rule it is the side of
        that version, or else the one with the greatest share. Raises `UnknownName`, and `TemporaryError` for one that is coming, or may be."""
        try:
            return self._found(name, version)
        except UnknownName as error:
            raise self._unknown(name, error) from None

    def _unknown(self, name: str, error: UnknownName) -> UnknownName | TemporaryError:
        """What who names a model that is not there is told."""
        name = self._spoken(name.partition("@")[0])
        why = "" if name in self._models or name in self.traffic.rules else self.unsure(name)
        return TemporaryError(f"{name!r} takes no calls yet: {why}", self.limits.retry_after_s) if why else error

    def _found(self, name: str, version: str = "") -> Model:
        name, _, tagged = name.partition("@")
        name = self._spoken(name)
        versions = self._models.get(name)
        rule = self.traffic.rules.get(name)
        if rule is not None and not versions:
            return self._of_rule(rule, version or tagged)
        if not versions and name in self.coming:
            raise self.coming.refusal(name)
        if not versions:
            raise UnknownName.among("model", name, {*self._models, *self.traffic.rules})
        wanted = version or tagged or newest(versions)
        if wanted not in versions:
            raise UnknownName.among(f"version of model {name!r}", wanted, versions)
        return versions[wanted]

    def plain(self, name: str, version: str = "") -> Model | None:
        """The model that answers calls of a name whoever calls: the newest of its versions, where the name has no rule, and never had one.
        None where there is more to ask."""
        if version or self.coming or self.traffic.knows(name):
            return None
        return self._newest.get(name)

    async def called(self, name: str, version: str = "", key: str = "", session: str = "") -> Model:
        """The model as `model` has it, or, by a rule, the side that answers calls with that `key`, of that `session`. Where it is one of
        the store's and not there it is loaded, and waited for; so is one that is coming.

        Raises as `model` does, and what stands against loading it.
        """
        side = None if version or "@" in name else self._side(self._spoken(name), key, session)
        if side is None:
            return await self._there(name, version)
        return replace(await self._there(side.model), side=side)

    async def described(self, name: str, version: str = "") -> Model:
        """The model that is told of when a name is asked about: as `model` has it; one of the store's that is not there is loaded."""
        try:
            return self._found(name, version)
        except UnknownName:
            rule = None if version else self.traffic.rules.get(self._spoken(name))
            return await self._there(name if rule is None else rule.heaviest, version)

    def answering(self, name: str, version: str = "") -> tuple[Model, ...]:
        """The models that have to be ready for a name to be: the sides that get calls, as far as they are loaded, or the model of that name.
        Raises as `model` does."""
        rule = None if version else self.traffic.rules.get(self._spoken(name))
        if rule is None:
            return (self.model(name, version),)
        return tuple(model for each in rule.sides if each.percent and (model := self._known(each.model)) is not None)

    def keep(self, model: Model, seconds: float | None) -> None:
        """Have a model that was loaded on demand stay for so long after its last call, None for as long as is usual; one that is always
        there does."""
        if self.on_demand is not None:
            self.on_demand.keep(model.name, seconds)

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model. Raises `UnknownName`."""
        return tuple(self._models[self.model(name).name])

    @property
    def names(self) -> tuple[str, ...]:
        """All names that callers may call, but for those of the store."""
        return tuple(sorted({*self._models, *self.traffic.rules, *self.coming}))

    @property
    def ruled(self) -> tuple[tuple[str, Model], ...]:
        """The names that are no model's and answer by a rule, each with the side of the greatest share; those are left out that
        cannot be told of, because they are not loaded."""
        found = ((name, self._known(rule.heaviest)) for name, rule in sorted(self.traffic.rules.items()))
        return tuple((name, model) for name, model in found if model is not None and name not in self._models)

    async def _there(self, name: str, version: str = "") -> Model:
        """The model of a name, whatever rule that has; loaded, or waited for, where it is not there."""
        if self.coming and (spoken := self._spoken(name.partition("@")[0])) in self.coming:
            await self.coming.wait(spoken, self.limits.timeout_s)
        if self.on_demand is not None and self._spoken(name.partition("@")[0]) not in self._models:
            try:
                name = await self.on_demand.find(name)
            except UnknownName as error:
                raise self._unknown(name, error) from None
            if name not in self._models:
                await self.on_demand.load(name)
        return self.model(name, version)

    def _side(self, name: str, key: str, session: str) -> Side | None:
        """The side that answers a call of a name; None where that has no rule. A session that is open stays where it is until it ends."""
        rule = self.traffic.rules.get(name)
        if session:
            for home in self.traffic.homes(name):
                if (model := self._known(home)) is not None and session in model.sessions:
                    return self.traffic.side(rule or Rule(name, ()), home)
        return self.traffic.side(rule, choose(rule, session or key or next(self._ids))) if rule is not None else None

    def _of_rule(self, rule: Rule, version: str) -> Model:
        if not version:
            return self.model(rule.heaviest)
        found = {model.version: model for side in rule.sides if (model := self._known(side.model)) is not None}
        if version not in found:
            raise UnknownName.among(f"version of {rule.name!r} among its sides", version, found)
        return found[version]

    def _known(self, model: str) -> Model | None:
        """The model of that name, or of that name and version, if it is there."""
        name, _, version = model.partition("@")
        versions = self._models.get(name, {})
        return versions.get(version or (newest(versions) if versions else ""))

    def _spoken(self, name: str) -> str:
        """The name that a model is served by, of those that it may be called."""
        known = name in self._models or name in self.traffic.rules or name in self.coming
        return name if known else name.removesuffix(f":{LATEST}")


def newest(versions: Collection[str]) -> str:
    """The version that is meant where none is named: by number, or, where that is not what they are, the one that came last."""
    if all(each.isdecimal() for each in versions):
        return max(versions, key=int)
    return list(versions)[-1]
