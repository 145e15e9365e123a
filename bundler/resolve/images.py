"""Images: each asked of its registry or of this machine, the pins that hold kept."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from bundler.errors import NotFound
from bundler.model.component import ImageRequest
from bundler.model.lock import LockedImage
from bundler.resolve.run import Job, Run
from bundler.sources.local_images import LocalImages
from bundler.sources.referrers import attached_images, registry_referrers


def image_jobs(run: Run, requests: Iterable[ImageRequest]) -> list[Job]:
    local = LocalImages(run.declared.manifests)
    return [
        (f"image {request.reference}", partial(_resolve_local if request.source else _resolve, run, request, local))
        for request in dict.fromkeys(requests)
    ]


def _resolve(run: Run, request: ImageRequest, _: LocalImages) -> None:
    reference, kept = request.reference, _kept(run, request)
    if kept is None or any(run.update.moves(image.name) for image in kept):
        image = run.resolvers.registry.resolve(reference, run.profile.platforms)
        run.found.images += _with_referrers(run, request, image)
    elif gone := _gone(run, kept):
        run.found.gone += gone
    else:
        run.found.images += _again(run, request, kept)
        _note_newer(run, kept[0])
    run.progress.note(f"image {reference}")


def _resolve_local(run: Run, request: ImageRequest, local: LocalImages) -> None:
    kept, platforms = _kept(run, request), run.profile.platforms
    same = kept is not None and run.before is not None and run.before.platforms == platforms
    if kept is not None and same and not request.referrers and local.unchanged(kept[0]):
        image = kept[0]
    else:
        image = local.resolve(request.reference, request.source, platforms, referrers=request.referrers)
    if kept is None or run.update.moves(image.name) or image.root == kept[0].root:
        run.found.images.append(image)
    else:
        run.found.gone.append(f"{kept[0].name} ({kept[0].root.digest}), now another image at {request.source}")
    run.progress.note(f"image {request.reference} from {request.source}")


def _kept(run: Run, request: ImageRequest) -> list[LockedImage] | None:
    """The pinned image, then what cosign's tags name for it; None where there is no such pin."""
    before = run.before.images if run.before else ()
    image = next((each for each in before if each.reference == request.reference), None)
    if image is None or image.source != request.source:
        return None
    subjects = {each.digest for each in (image.root, *image.manifests)}
    return [image, *(e for e in before if e.reference.name == image.reference.name and e.reference.about in subjects)]


def _gone(run: Run, kept: Sequence[LockedImage]) -> list[str]:
    """The pins that the registry no longer serves: manifests that the tag names, and what refers to them."""
    wanted = [(image.reference, each.digest) for image in kept for each in (image.root, *image.referrers)]
    registry = run.resolvers.registry
    return [f"{reference} ({digest})" for reference, digest in wanted if not registry.still_there(reference, digest)]


def _note_newer(run: Run, kept: LockedImage) -> None:
    try:
        now = run.resolvers.registry.current(kept.reference)
    except NotFound:
        return  # the tag was taken away; the pin does not need it
    if now != kept.root.digest:
        run.progress.note(f"{kept.reference} is {now} by now; --update='{kept.reference}' takes it")


def _again(run: Run, request: ImageRequest, kept: Sequence[LockedImage]) -> list[LockedImage]:
    """The pinned image; looked at again when the platforms to carry changed, or whether referrers are wanted."""
    has_referrers = bool(kept[0].referrers or kept[1:])
    if run.before and run.before.platforms == run.profile.platforms and request.referrers == has_referrers:
        return list(kept)
    pinned = replace(request.reference, digest=kept[0].root.digest)
    image = replace(run.resolvers.registry.resolve(pinned, run.profile.platforms), reference=request.reference)
    return _with_referrers(run, request, image)


def _with_referrers(run: Run, request: ImageRequest, image: LockedImage) -> list[LockedImage]:
    if not request.referrers:
        return [image]
    registry = run.resolvers.registry
    return [registry_referrers(registry, image), *attached_images(registry, image)]
