"""Machines: what every host must be before anything is installed on it. Nothing is installed here, only found."""

from bundler.components.machine import earlier, holders, names, network, packages, release, storage, system
from bundler.steps.step import Component

COMPONENT = Component(
    name="machine",
    about="What every host must be before anything is installed.",
    steps=(),
    preflight=(
        *release.CHECKS,
        *system.CHECKS,
        *names.CHECKS,
        *network.CHECKS,
        *storage.CHECKS,
        *packages.CHECKS,
        *holders.CHECKS,
        *earlier.CHECKS,
    ),
)
