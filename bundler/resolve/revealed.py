"""Images that no manifest names: those that charts show when they are rendered, and that tools name."""

from collections.abc import Iterable

from bundler.closure.inputs import inputs_of, is_manifest, receive_inputs
from bundler.closure.look import KUBERNETES, Looker, surely
from bundler.model.asked import Asked
from bundler.model.component import ImageRequest
from bundler.model.lock import LockedChart, LockedFile
from bundler.model.reference import Reference
from bundler.resolve.asked import asked_of
from bundler.resolve.run import Run


def reveal(run: Run) -> list[ImageRequest]:
    """Look into what was found so far; the images that nothing named yet.

    What is the same as in the lock before is not looked into again. Raises what `receive_inputs` and `Looker` raise.
    """
    asked = [asked_of(run, component) for component in run.declared.components]
    fresh = [each for each in asked if not _known(run, each, asked)]
    if any(each.charts or each.tools or any(map(is_manifest, each.files)) for each in fresh):
        inputs = inputs_of(asked, run.found.charts, run.found.files)
        run.progress.note(f"looking into charts and tools ({len(inputs)}) for the images that they need")
        paths = receive_inputs(inputs, run.resolvers, run.declared.manifests, run.resolvers.scratch)
        looker = Looker(asked, run.found.charts, run.found.files, paths)
        for each in fresh:
            run.found.revealed[each.component] = surely(looker.look(each), each)
    named = {image.reference for component in run.declared.components for image in component.content.images}
    wanted: dict[Reference, None] = {}
    for references in run.found.revealed.values():
        wanted |= dict.fromkeys(reference for reference in references if reference not in named)
    return [ImageRequest(reference=reference, source="", referrers=False, license="") for reference in wanted]


def _known(run: Run, asked: Asked, everything: Iterable[Asked]) -> bool:
    """Whether the lock before says what this shows: the same charts, tools and versions, of the same bytes."""
    before, found = run.before, run.found
    old = next((each for each in before.asked if each.component == asked.component), None) if before else None
    if before is None or old is None:
        return False
    was = _looked_into(old, before.asked, before.charts, before.files)
    if was != _looked_into(asked, everything, found.charts, found.files):
        return False
    found.revealed[asked.component] = tuple(image for image in old.revealed if image.about is None)
    return True


def _looked_into(
    asked: Asked, everything: Iterable[Asked], charts: Iterable[LockedChart], files: Iterable[LockedFile]
) -> object:
    """All that decides what a look shows: helm and the version of Kubernetes are other components'."""
    everything = tuple(everything)
    shared = [each for each in everything if any(name == "helm" for name, _ in each.tools)]
    kubernetes = [version for each in everything for name, version in each.provides if name == KUBERNETES]
    inputs = set(inputs_of([asked, *shared], charts, files))
    return asked.charts, asked.tools, asked.silences, kubernetes, inputs
