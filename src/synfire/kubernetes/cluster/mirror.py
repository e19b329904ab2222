"""A copy of all objects of one kind, which follows every change: listed once, then watched. An object that changes is another one;
none is changed where it lies."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from synfire.base.errors import SynfireError
from synfire.kubernetes.cluster.api import Api, ApiError, Document, Forbidden, Gone
from synfire.kubernetes.cluster.kinds import path_of

LOGGER = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0

Name = tuple[str, str]
"""Namespace and name; the namespace is empty for what belongs to the cluster."""


class Mirror:
    """`changed` is called with the namespace of each object that is another one than before, and with the object itself where it is one that
    somebody else has made or changed; `kept` with each object that is kept here, and with none in its place when it is no longer. `refused` holds
    the words of the server where we may not look. Only objects with the labels of `selector`, and with these `fields`, are copied."""

    def __init__(
        self,
        api: Api,
        version: str,
        kind: str,
        namespace: str,
        selector: str,
        changed: Callable[[str, Document | None], None],
        kept: Callable[[Name, Document | None], None] = lambda name, found: None,
        fields: str = "",
    ) -> None:
        self.objects: dict[Name, Document] = {}
        self.listed = asyncio.Event()
        self.refused = ""
        self.relists = 0
        self._api = api
        self._path = path_of(version, kind, namespace)
        self._what = {"apiVersion": version, "kind": kind}
        self._chosen = selector, fields
        self._changed = changed
        self._kept = kept
        self._spaces: dict[str, dict[str, Document]] = {}

    async def run(self) -> None:
        """Follow, until cancelled."""
        version, pause_s = "", FIRST_PAUSE_S
        while True:
            try:
                if not version:
                    version = await self._relist()
                async for kind, found in self._api.watch(self._path, version, *self._chosen):
                    pause_s = FIRST_PAUSE_S
                    version = found["metadata"]["resourceVersion"]
                    self._take(kind, found)
                continue
            except Gone:
                version = ""
                continue
            except Forbidden as error:
                self.refused, version = str(error), ""
                self.listed.set()
                self._changed("", None)
            except ApiError as error:
                version = ""
                LOGGER.warning("%s: %s; it is listed anew", self._path, error)
            except SynfireError as error:
                LOGGER.info("%s; it goes on in %.1f s", error, pause_s)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def of(self, namespace: str) -> Iterable[Document]:
        """The objects of one namespace."""
        return self._spaces.get(namespace, {}).values()

    def namespaces(self) -> Iterable[str]:
        """Where there are any."""
        return [name for name, each in self._spaces.items() if each]

    def note(self, written: Document) -> None:
        """What we have written ourselves is known at once; the watch tells it again. It may have told of something newer before we were
        answered: of that we know more then."""
        known = self.objects.get(_name(written))
        if known is None or not _is_older(written, known):
            self._put(written)

    def forget(self, namespace: str, name: str) -> None:
        """What we have deleted ourselves."""
        self._drop((namespace, name))

    async def _relist(self) -> str:
        found, version = await self._api.list(self._path, *self._chosen)
        self.relists += 1
        self.refused = ""
        fresh = {_name(each): each for each in found}
        gone = [name for name in self.objects if name not in fresh]
        for name in gone:
            self._drop(name)
        for each in fresh.values():
            self._put(each)
        for namespace in {name[0] for name in (*gone, *fresh)}:
            self._changed(namespace, None)
        self.listed.set()
        return version

    def _take(self, kind: str, found: Document) -> None:
        if kind == "BOOKMARK":
            return
        name = _name(found)
        before = self.objects.get(name)
        if kind == "DELETED":
            self._drop(name)
            self._changed(name[0], None)
        elif before is not None and _version(before) == _version(found):
            return  # we have written it ourselves
        else:
            self._put(found)
            self._changed(name[0], found)

    def _put(self, found: Document) -> None:
        namespace, name = _name(found)
        found["metadata"].pop("managedFields", None)
        found |= self._what  # in lists objects do not say what they are
        self.objects[namespace, name] = found
        self._spaces.setdefault(namespace, {})[name] = found
        self._kept((namespace, name), found)

    def _drop(self, name: Name) -> None:
        self.objects.pop(name, None)
        self._spaces.get(name[0], {}).pop(name[1], None)
        self._kept(name, None)


def _name(found: Document) -> Name:
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(found: Document) -> str:
    version: str = found["metadata"]["resourceVersion"]
    return version


def _is_older(one: Document, other: Document) -> bool:
    """Versions are numbers that grow with every write. Others than numbers are not compared."""
    versions = _version(one), _version(other)
    return all(map(str.isdecimal, versions)) and int(versions[0]) < int(versions[1])
