"""What `scripts/bench` measures on: registries on loopback, and in a folder everything that the ways read."""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lab.bench_measure import Bench
from scripts.lab.bench_ways import Images

LAB = Path(__file__).resolve().parent
MANIFESTS = LAB / "manifests"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """`images` are what is carried, from the registry at a host and port."""

    bench: Bench
    images: Images
    registry: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A lab with a whole profile, locked and created once; the lab's images are those of the profile."""

    lab: Lab
    profile: str
    size: int
    contents: str


@contextmanager
def random_lab(work: Path, *, images: int, layers: int, size: str, runs: int) -> Iterator[Lab]:
    """Random images, and in `work` a lock, a key, a bundle and its blobs as files."""
    recipe = f"{images}x{layers}x{size}"
    references = tuple(f"bench/image-{number:02}:1" for number in range(images))
    with registry_of(recipe) as url:
        say(f"registry at {url}, images {recipe}")
        many = [str(images), "--blobs", str(layers), "--bytes", size]
        script("random-images", *many, "--prefix", "bench/", "--registry", url)
        registry, upstreams = url.removeprefix("http://"), f"bench.example={url}"
        payload = images * layers * byte_count(size)
        begin(work, [f"bench.example/{reference}" for reference in references], upstreams)
        write_skopeo(work, registry, references)
        write_bundle(work, url, references, upstreams)
        bench = Bench(work, variables(work, registry, upstreams))
        yield Lab(bench=bench, images=Images(references=references, payload=payload), registry=registry, runs=runs)


@contextmanager
def platform_lab(work: Path, *, profile: str, big: bool, images: int | None, runs: int) -> Iterator[Platform]:
    """The whole Kubernetes platform of scripts/lab/upstream, its lock and its bundle in `work`; and a lock of the first
    so many of its images alone."""
    state = str(work / "upstream")
    options = ["--empty", "--platform", *(["--big"] if big else [])]
    try:
        upstreams = script("upstream", "up", "--state", state, *options).splitlines()[-1]
        url = (work / "upstream/url").read_text().strip()
        registry = url.removeprefix("http://")
        say(f"registry at {url}; locking and creating {profile}")
        lock, bundle = work / "platform.lock", work / "platform.bundle"
        for path in (lock, bundle):
            path.unlink(missing_ok=True)
        places = [*upstream_options(upstreams), "--manifests", str(MANIFESTS)]
        run("bundle", "lock", "-p", profile, *places, "-o", str(lock))
        locked = read_yaml(lock)
        chosen = images_of(locked["images"][:images], locked["platforms"][0])
        begin(work, chosen.references, upstreams)
        write_skopeo(work, registry, chosen.references)
        run("bundle", "create", "--lock", str(lock), "--key", str(work / "bench.key"), *places, "-o", str(bundle))
        yield Platform(
            lab=Lab(
                bench=Bench(work, variables(work, registry, upstreams)),
                images=chosen,
                registry=registry,
                runs=runs,
            ),
            profile=profile,
            size=bundle.stat().st_size,
            contents=contents_of(locked),
        )
    finally:
        script("upstream", "down", "--state", state)


def read_yaml(path: Path) -> Any:
    """Parsed by a process of its own: a child's peak memory begins with that of who starts it."""
    code = "import json, sys, yaml; json.dump(yaml.load(sys.stdin.buffer, Loader=yaml.CSafeLoader), sys.stdout)"
    with path.open("rb") as file:
        return json.loads(
            subprocess.run([sys.executable, "-c", code], stdin=file, stdout=subprocess.PIPE, check=True).stdout
        )


def images_of(locked: Sequence[dict[str, list[dict[str, str]]]], platform: str) -> Images:
    blobs = {blob["digest"]: int(blob["size"]) for image in locked for blob in image["blobs"]}
    references = tuple(str(image["reference"]) for image in locked)
    return Images(references=references, payload=sum(blobs.values()), platform=platform)


def contents_of(locked: dict[str, list[dict[str, int]]]) -> str:
    """How much of what is in a lock, for people."""

    def size(kind: str) -> str:
        return f"{sum(int(entry['size']) for entry in locked[kind]) / 1e6:,.0f} MB"

    return (
        f"{len(locked['images'])} images, {len(locked['charts'])} charts, {len(locked['debs'])} Debian packages"
        f" ({size('debs')}) and {len(locked['files'])} files ({size('files')})"
    )


@contextmanager
def registry_of(recipe: str) -> Iterator[str]:
    """The URL of a registry whose images are kept in the cache, for one bench at a time."""
    state = Path(os.environ["BENCH_CACHE"]) / f"bench-{recipe}"
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield script("upstream", "up", "--state", str(state), "--empty").splitlines()[-1]
        finally:
            script("upstream", "down", "--state", str(state))


def begin(work: Path, references: Sequence[str], upstreams: str) -> None:
    """A key, and a lock of these images alone."""
    for name in ("bench.key", "bench.pub", "bench.lock"):
        (work / name).unlink(missing_ok=True)
    for folder in ("profiles", "components"):
        (work / "manifests" / folder).mkdir(parents=True, exist_ok=True)
    lines = ["profile: bench", "release: {line: bench, number: 1}", f"platforms: [linux/{architecture()}]"]
    lines += ["bootstrap: {python: []}", "components: [images]"]
    (work / "manifests/profiles/bench.yaml").write_text("\n".join(lines) + "\n")
    lines = ["component: images", "images:", *(f"- {reference}" for reference in references)]
    (work / "manifests/components/images.yaml").write_text("\n".join(lines) + "\n")
    profile = str(work / "manifests/profiles/bench.yaml")
    run("bundle", "keys", "create", str(work / "bench"))
    run("bundle", "lock", "-p", profile, *upstream_options(upstreams), "-o", str(work / "bench.lock"))


def write_skopeo(work: Path, registry: str, references: Sequence[str]) -> None:
    """What `skopeo sync` reads."""
    named = [reference.rpartition(":") for reference in references]
    images = [f"    {name}: [{json.dumps(tag)}]" for name, _, tag in named]
    lines = [f'"{registry}":', "  tls-verify: false", "  images:", *images]
    (work / "skopeo.yaml").write_text("\n".join(lines) + "\n")


def write_bundle(work: Path, url: str, references: Sequence[str], upstreams: str) -> None:
    """The bundle of the images, its blobs as files, and the paths of the layers in the registry."""
    (work / "site.bundle").unlink(missing_ok=True)
    shutil.rmtree(work / "blobs", ignore_errors=True)
    inputs = ["--lock", str(work / "bench.lock"), "--key", str(work / "bench.key"), "-o", str(work / "site.bundle")]
    run("bundle", "create", *inputs, *upstream_options(upstreams))
    (work / "blobs").mkdir()
    run("tar", "-C", str(work / "blobs"), "-xf", str(work / "site.bundle"), "blobs")
    paths = [path for reference in references for path in layer_paths(url, reference.rpartition(":")[0])]
    (work / "layers.txt").write_text("\n".join(paths) + "\n")


def variables(work: Path, registry: str, upstreams: str) -> dict[str, str]:
    """What the ways' scripts find in their environment."""
    cores = len(os.sched_getaffinity(0))
    found = {"WORK": str(work), "REGISTRY": registry, "MANIFESTS": str(MANIFESTS), "CORES": str(cores)}
    found["BUNDLE_UPSTREAM"] = upstreams
    if (work / "blobs").exists():
        found["SHARE"] = str(-(-len(list((work / "blobs/blobs/sha256").iterdir())) // cores))
    return found


def layer_paths(url: str, name: str) -> list[str]:
    """Where the registry has the layers of an image."""
    manifest = json.loads(run("curl", "-sf", "-H", f"Accept: {MANIFEST}", f"{url}/v2/{name}/manifests/1"))
    return [f"v2/{name}/blobs/{layer['digest']}" for layer in manifest["layers"]]


def upstream_options(pairs: str) -> list[str]:
    return [word for pair in pairs.split() for word in ("--upstream", pair)]


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def byte_count(text: str) -> int:
    """A size as random-images takes it."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    return int(text.rstrip("kKmMgG")) * factor


def script(name: str, *arguments: str) -> str:
    return run(str(LAB / name), *arguments)


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed ({done.returncode}):\n{done.stderr[-4000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
