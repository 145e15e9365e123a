"""What keys and single texts say."""

import pytest
from hypothesis import given

from bundler.closure.shape import by_shape, expanded, name_of, pattern_of
from bundler.closure.use import Certainty
from bundler.closure.words import mentions_image, says_image, words_of
from bundler.model.digest import Digest
from bundler.model.reference import Reference
from tests.strategies import references

D = str(Digest.of(b""))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        *(
            (key, True)
            for key in ("image", "images", "Image", "IMAGE", "sidecarImage", "PAUSE_IMAGE", "x.io/proxyImage")
        ),
        *(
            (key, True)
            for key in ("imageName", "image_ref", "image-url", "initimage", "relatedImages", "pod-infra-image")
        ),
        *((key, False) for key in ("imagePullPolicy", "imageTag", "imageID", "backgroundImage", "osImage", "imagine")),
        *((key, False) for key in ("name", "", "1", "image/x", "imageGCHighThreshold", "imageRegistry")),
    ],
)
def test_keys_that_say_image(key: str, says: bool) -> None:
    assert says_image(words_of(key)) is says


@pytest.mark.parametrize(
    ("key", "mentions"),
    [
        ("RELATED_IMAGE_PROXY", True),
        ("imageProxy", True),
        ("imagePullSecret", False),
        ("imageTag", False),
        ("x", False),
    ],
)
def test_keys_that_mention_an_image(key: str, mentions: bool) -> None:
    assert mentions_image(words_of(key)) is mentions


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("quay.io/x/y:1.2", Certainty.LIKELY),
        ("host:5000/y:v1", Certainty.LIKELY),
        (f"y@{D}", Certainty.LIKELY),
        (f"y:1@{D}", Certainty.LIKELY),
        ("docker://y:1", Certainty.LIKELY),
        ("quay.io/x/y:$(V)", Certainty.LIKELY),
        ("quay.io/x/y:7", Certainty.GUESS),
        ("x/y:1.2", Certainty.GUESS),
        ("y:latest", Certainty.GUESS),
        ("y:8080", None),
        ("quay.io/x/y", Certainty.GUESS),
        ("docker://quay.io/x/y", Certainty.LIKELY),
        ("docker.io/x", None),
        ("example.com/x/y", None),
        ("quay.io/x/y:<tag>", None),
        ("oci://quay.io/x", None),
        ("$(A):$(B)", None),
    ],
)
def test_shapes(text: str, certainty: Certainty | None) -> None:
    found = by_shape(text)
    assert (found[1] if found else None) == certainty


@given(references)
def test_every_canonical_name_is_one(reference: Reference) -> None:
    named = name_of(str(reference))
    assert named is None or named.reference == reference
    assert named or "." in str(reference).rpartition("/")[2]  # a file's ending


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("$(A)/$B/${C}", "1/2/3"),
        ("${D:-4} ${D-5} ${A:-6}", "4 5 1"),
        ("$(D) ${D} $D $$", "$(D) ${D} $D $$"),
    ],
)
def test_variables_are_filled(text: str, whole: str) -> None:
    assert expanded(text, {"A": "1", "B": "2", "C": "3"}) == whole


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("q.io/x/app:$(V)", "q.io/x/app:1.2", "q.io/x/web:1.2"),
        ("x/app:${V}", "docker.io/x/app:2", "q.io/x/app:2"),
        ("app:$V", "docker.io/library/app:2", "docker.io/x/app:2"),
        ("{{ .Hub }}/proxy:{{ .Tag }}", "q.io/istio/proxy:1.2", "q.io/istio/pilot:1.2"),
        (f"q.io/app-$(ARCH)@{D}", f"q.io/app-amd64:1@{D}", "q.io/app:1"),
    ],
)
def test_what_a_text_with_holes_may_become(text: str, fits: str, does_not: str) -> None:
    pattern = pattern_of(text)
    assert pattern is not None
    assert pattern.fullmatch(fits)
    assert not pattern.fullmatch(does_not)


@pytest.mark.parametrize("text", ["$(IMAGE)", "q.io/x/$(NAME):1", "{{ .Image }}", "${A}/${B}:${C}"])
def test_a_text_without_a_fixed_name_may_become_anything(text: str) -> None:
    assert pattern_of(text) is None
