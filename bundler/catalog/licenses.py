"""The licence gate: what restricts redistribution is carried only when the profile accepts it by name."""

from collections.abc import Iterator

from bundler.catalog.load import Declared
from bundler.errors import LicenseNotAccepted
from bundler.model.component import Content


def unaccepted(declared: Declared) -> tuple[tuple[str, str], ...]:
    """Each licence that is not accepted with each entry that has it, sorted. An entry's `license:` is there to say
    that its redistribution is restricted; what anybody may pass on has none."""
    accepted = frozenset(declared.profile.accepted)
    found = (
        (name, f"{entry} of the component {component.name}")
        for component in declared.components
        for name, entry in _licensed(component.content)
    )
    return tuple(sorted({(name, entry) for name, entry in found if name not in accepted}))


def check_licenses(declared: Declared) -> None:
    """Raises LicenseNotAccepted with all of them, and the line that accepts them beside what is accepted already.

    Accepting a licence that nothing has is no error: the profile may be made for other versions, too.
    """
    if needed := unaccepted(declared):
        names = dict.fromkeys((*declared.profile.accepted, *(name for name, _ in needed)))
        line = f"accept_license: [{', '.join(names)}]"
        raise LicenseNotAccepted(profile=declared.profile.name, needed=needed, line=line)


def licenses_of(content: Content) -> tuple[str, ...]:
    """The licences that must be accepted by name before this content may be carried."""
    return tuple(sorted({license_ for license_, _ in _licensed(content)}))


def _licensed(content: Content) -> Iterator[tuple[str, str]]:
    yield from ((image.license, f"the image {image.reference}") for image in content.images if image.license)
    yield from ((chart.license, f"the chart {chart.name}") for chart in content.charts if chart.license)
    yield from ((file.license, f"the file {file.name}") for file in content.files if file.license)
