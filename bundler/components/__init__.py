"""The components that the installer knows: every folder here that has a COMPONENT. Adding one touches nothing else."""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from bundler.model.document import Fields
from bundler.steps.step import Component


@cache
def components() -> tuple[Component, ...]:
    """All components, by name."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            component = import_module(f"{__name__}.{module.name}").COMPONENT
            if not isinstance(component, Component):
                raise TypeError(f"{__name__}.{module.name}.COMPONENT is no Component")
            found.append(component)
    return tuple(sorted(found, key=lambda component: component.name))


def settings_parsers() -> Mapping[str, Callable[[Fields], Any]]:
    return {component.name: component.settings for component in components()}


def settings_schemas() -> Mapping[str, Mapping[str, Any]]:
    return {component.name: component.schema for component in components()}
