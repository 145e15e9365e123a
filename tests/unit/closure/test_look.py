import pytest

from bundler.closure.judge import Carried, judge
from bundler.closure.look import Seen, surely
from bundler.closure.use import Certainty, Found, Place, Use
from bundler.model.asked import Asked
from bundler.model.component import Silence
from bundler.model.reference import Reference


def use(text: str, certainty: Certainty = Certainty.CERTAIN) -> Use:
    reference = Reference.parse(text)
    return Use(text=text, reference=reference, place=Place(source="x"), found=Found.POD, certainty=certainty)


def asked(*silenced: str) -> Asked:
    silences = tuple(Silence(image=image, reason="a test") for image in silenced)
    nothing = dict.fromkeys(("images", "revealed", "charts", "wheels", "packages", "files", "provides", "tools"), ())
    return Asked(component="x", version="", silences=silences, **nothing)


def test_what_is_carried_is_more_than_a_guess() -> None:
    seen = Seen(uses=(use("busybox"), use("a/b:1"), use("a/b:1"), use("c/d:2", Certainty.GUESS)), notes=(), renders=1)
    assert [str(image) for image in surely(seen, asked())] == [
        "docker.io/a/b:1",
        "docker.io/library/busybox:latest",
    ]


@pytest.mark.parametrize("silenced", ["busybox", "busybox:latest", "docker.io/library/busybox:latest"])
@pytest.mark.parametrize("text", ["busybox", "docker.io/library/busybox:latest", "library/busybox"])
def test_a_silence_means_the_same_to_the_lock_and_to_the_proof(silenced: str, text: str) -> None:
    """By the text or by the name that it stands for: then the image is neither carried nor missed."""
    about = asked(silenced)
    assert surely(Seen(uses=(use(text),), notes=(), renders=1), about) == ()
    assert judge([use(text)], list[Carried](), silences=about.silences) == ()
