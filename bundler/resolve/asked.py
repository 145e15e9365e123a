"""What each component asks for, as the lock says it."""

from collections.abc import Iterator
from dataclasses import replace

from bundler.model.asked import Asked, AskedChart
from bundler.model.component import ChartRequest, Component, PackageSet, Variant
from bundler.model.profile import Profile
from bundler.model.reference import Reference
from bundler.model.scalars import KERNEL
from bundler.model.values import overlay
from bundler.resolve.run import Run


def asked_of(run: Run, component: Component) -> Asked:
    """All that it asks for, by what was found so far."""
    return replace(
        stated(run.profile, component),
        revealed=tuple(sorted({*run.found.revealed.get(component.name, ()), *_attached(run, component)}, key=str)),
        charts=tuple(_chart(run, chart) for chart in component.content.charts),
    )


def stated(profile: Profile, component: Component) -> Asked:
    """What its manifest says by itself: without charts, whose versions are ranges there."""
    content = component.content
    return Asked(
        component=component.name,
        version=component.version,
        images=tuple(image.reference for image in content.images),
        revealed=(),
        charts=(),
        wheels=content.wheels,
        packages=package_names(
            profile, tuple(name for each in content.packages if _is_for(each, profile) for name in each.names)
        ),
        files=tuple(file.name for file in content.files),
        provides=content.provides,
        tools=content.tools,
        silences=content.silences,
    )


def _is_for(packages: PackageSet, profile: Profile) -> bool:
    return not packages.releases or any(target.release in packages.releases for target in profile.packages)


def package_names(profile: Profile, names: tuple[str, ...]) -> tuple[str, ...]:
    """Each name once; one with `{kernel}` once for each kernel of the profile."""
    expanded = (
        name.replace(KERNEL, kernel) for name in names for kernel in (profile.kernels if KERNEL in name else ("",))
    )
    return tuple(dict.fromkeys(expanded))


def _attached(run: Run, component: Component) -> Iterator[Reference]:
    """The signatures and attestations that are images of their own (cosign's tags) of images that bring theirs."""
    names = {image.reference.name for image in component.content.images if image.referrers}
    found = (image.reference for image in run.found.images)
    return (reference for reference in found if reference.about is not None and reference.name in names)


def _chart(run: Run, chart: ChartRequest) -> AskedChart:
    """The component's values with the profile's over them."""
    over = dict(run.profile.values).get(chart.release, "{}")
    values = overlay(chart.values, over)
    return AskedChart(
        chart=chart.name,
        version=run.found.chart_versions[chart.release],
        release=chart.release,
        namespace=chart.namespace,
        values=values,
        variants=tuple(Variant(name=each.name, values=overlay(values, each.values)) for each in chart.variants),
    )
