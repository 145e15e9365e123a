"""What a lock was made from: what each component asks for, and the hosts that OS packages are for.

The proof of completeness starts here, so that it needs no manifest: a lock, or the bundle that carries it, is enough.
"""

from dataclasses import dataclass

from bundler.model.component import Silence, ToolRequest, Variant
from bundler.model.component_parser import parse_silence, parse_tool
from bundler.model.document import Fields
from bundler.model.names import check_label, check_segment, check_version
from bundler.model.reference import Reference
from bundler.model.scalars import check_chart_name, check_package, check_tool, parse_requirement
from bundler.model.values import check_values


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedChart:
    """How a component uses a chart: rendered with `values`, and once more with each variant laid over them."""

    chart: str
    version: str
    release: str
    namespace: str
    values: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a component asks for, as the profile chose it: by this the closure is proved, without any manifest.

    `images` are those that its manifest names, `revealed` those that its charts showed when they were rendered, that
    its tools named, and that are signatures of others; `files` are names; `packages` are names for apt.
    """

    component: str
    version: str
    images: tuple[Reference, ...]
    revealed: tuple[Reference, ...]
    charts: tuple[AskedChart, ...]
    wheels: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...]
    provides: tuple[tuple[str, str], ...]
    tools: tuple[tuple[str, ToolRequest], ...]
    silences: tuple[Silence, ...]

    @property
    def name(self) -> str:
        return self.component


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRole:
    """The names that hosts of one role ask apt for; a role without a name is that of every host."""

    role: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTarget:
    """A release and architecture that packages are locked for.

    `base` is what a host has or needs before anything is asked for: the Essential packages of an empty host by name,
    which are carried; or, where `installed`, what the carried packages rest on: `NAME=VERSION`, and `NAME` for a name
    that is provided without a version. `chosen` are the carried packages that no other names as the only one that
    will do, each with the name that it stands for (`mawk` for `awk`).
    """

    archive: str
    release: str
    architecture: str
    base: tuple[str, ...]
    installed: bool
    roles: tuple[PackageRole, ...]
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.archive}/{self.release}/{self.architecture}"


def parse_asked(fields: Fields) -> Asked:
    return fields.build(
        Asked,
        component=fields.value("component", check_label),
        version=fields.value("version", check_label, default=""),
        images=fields.values("images", Reference.parse, optional=True),
        revealed=fields.values("revealed", Reference.parse, optional=True),
        charts=fields.each("charts", _chart, optional=True, name=lambda chart: chart.release),
        wheels=fields.values("wheels", parse_requirement, optional=True),
        packages=fields.values("packages", check_package, optional=True),
        files=fields.values("files", check_segment, optional=True),
        provides=fields.named("provides", lambda inner, name: inner.value(name, check_version), check=check_label),
        tools=fields.named("tools", lambda inner, name: inner.nested(name, parse_tool), check=check_tool),
        silences=fields.each("silence", parse_silence, optional=True),
    )


def _chart(fields: Fields) -> AskedChart:
    return fields.build(
        AskedChart,
        chart=fields.value("chart", check_chart_name),
        version=fields.value("version", check_segment),
        release=fields.value("release", check_label),
        namespace=fields.value("namespace", check_label),
        values=fields.value("values", check_values),
        variants=fields.each("variants", _variant, optional=True, name=lambda variant: variant.name),
    )


def _variant(fields: Fields) -> Variant:
    return fields.build(Variant, name=fields.value("name", check_label), values=fields.value("values", check_values))


def parse_target(fields: Fields) -> LockedTarget:
    return fields.build(
        LockedTarget,
        archive=fields.value("archive", check_label),
        release=fields.value("release", check_label),
        architecture=fields.value("architecture", check_label),
        base=fields.values("base", check_package),
        installed=fields.flag("installed"),
        roles=fields.each("roles", _role, name=lambda role: role.role),
        chosen=fields.named("chosen", lambda inner, name: inner.value(name, check_package), check=check_package),
    )


def _role(fields: Fields) -> PackageRole:
    return fields.build(
        PackageRole,
        role=fields.value("role", check_label, default=""),
        names=fields.values("names", check_package),
    )
