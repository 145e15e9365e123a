"""The ways to do the same work that are measured against one another. Scripts use these variables: $OUT, where output
goes; $WORK, which has what was prepared; $REGISTRY, the host and port; $MANIFESTS, the lab's own; $CORES.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.lab.bench_measure import Bench, Measured, Way, fastest

BUNDLE = "bundle"
_CREATE = "exec bundle create --lock $WORK/bench.lock --key $WORK/bench.key -q -o $OUT/site.bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of the registry: `references` are REPOSITORY:TAG there, `payload` is the size of their layers in bytes,
    each counted once. Where they are indexes, only `platform` is carried."""

    references: tuple[str, ...]
    payload: int
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """How a tool is called for one image: `source` is filled with its reference, `target` with a path and a tag."""

    name: str
    command: str
    source: str
    target: str
    tagged: bool = False  # several may go into one layout, if one after the other
    limited: bool = True  # it must be told the platform; else it takes the machine's own

    def each(self, images: Images, *, at_once: str = "1", together: bool = False) -> str:
        """Every image into a folder or file of its own, or `together` into one."""
        lines = []
        for number, reference in enumerate(images.references):
            target = self.target.format("$OUT/all" if together else f"$OUT/{number:02}", f"{number:02}")
            lines.append(f"{self.source.format(f'$REGISTRY/{reference}')} {target}")
        return "\n".join([f"xargs -P{at_once} -L1 {self.command} {self.limit(images)} <<END", *lines, "END"])

    def limit(self, images: Images) -> str:
        return f"--platform {images.platform}" if self.limited and images.platform else ""


_SKOPEO = "skopeo copy -q --src-tls-verify=false"
_CRANE = "crane pull --insecure"
_REGCTL = "regctl --host reg=$REGISTRY,tls=disabled image"
_FOLDERS = {
    "skopeo": _Command(name="skopeo copy dir:", command=_SKOPEO, source="docker://{}", target="dir:{}", limited=False),
    "crane": _Command(name="crane pull --format=oci", command=f"{_CRANE} --format=oci", source="{}", target="{}"),
    "oras": _Command(
        name="oras cp --to-oci-layout",
        command="oras cp --no-tty --from-plain-http --to-oci-layout",
        source="{}",
        target="{}:{}",
        tagged=True,
    ),
    "regctl": _Command(
        name="regctl image copy ocidir:",
        command=f"{_REGCTL} copy",
        source="{}",
        target="ocidir://{}:{}",
        tagged=True,
    ),
}
# They make one archive an image, not one for all.
_ARCHIVES = {
    "skopeo": _Command(
        name="skopeo copy oci-archive:",
        command=f"{_SKOPEO} --dest-oci-accept-uncompressed-layers",
        source="docker://{}",
        target="oci-archive:{}.tar",
        limited=False,
    ),
    "oras": _Command(
        name="oras backup",
        command="oras backup --no-tty --plain-http",
        source="{}",
        target="--output {}.tar",
        limited=False,  # it cannot be: all platforms come along
    ),
    "regctl": _Command(name="regctl image export", command=f"{_REGCTL} export", source="{}", target="{}.tar"),
}


def contest(bench: Bench, images: Images, runs: int) -> tuple[list[Measured], list[Measured]]:
    """Ours and the others: into folders, then into files. Ours is the same, and the first, in both."""
    ours = create_way(images.payload)
    folders = bench.alternate([ours, *directory_ways(images)], runs)
    return folders, bench.alternate([ours, *file_ways(images, folders)], runs)


def create_way(payload: int) -> Way:
    return Way(name=BUNDLE, script=_CREATE, tool=BUNDLE, output=payload, single=True)


def slow_ways(payload: int, port: int, *, jobs: int) -> list[Way]:
    """Through the proxy at `port`: create, and as many connections of a client that throws the bytes away."""
    script = f"{_CREATE} --jobs {jobs} --upstream bench.example=http://127.0.0.1:{port}"
    ours = Way(name=f"bundle --jobs {jobs}", script=script, tool=BUNDLE, output=payload)
    return [ours, plain_way(f"curl to nowhere, {jobs} at once", port, jobs=jobs)]


def plain_way(name: str, port: int, *, jobs: int) -> Way:
    """The layers one after the other over each of so many connections."""
    share = f"$((($(wc -l <$WORK/layers.txt) + {jobs - 1}) / {jobs}))"
    urls = f"sed s,^,http://127.0.0.1:{port}/, $WORK/layers.txt"
    return Way(name=name, script=f"{urls} | xargs -P{jobs} -n{share} curl -sf >/dev/null", tool="curl")


def directory_ways(images: Images) -> list[Way]:
    """The images into folders: each tool in one process where it can, one after the other into one folder for all
    where a shared layer is fetched once, and on all cores into a folder for each."""
    ways = [
        ("skopeo", "skopeo sync dir:", "skopeo sync --src yaml --dest dir $WORK/skopeo.yaml $OUT"),
        ("crane", "crane pull --format=oci, one process", f"{_crane_all(images, '--format=oci')} $OUT/all"),
    ]
    for tool, command in _FOLDERS.items():
        together = command.tagged
        name = f"{command.name}, one layout" if together else command.name
        ways.append((tool, name, command.each(images, together=together)))
        ways.append((tool, f"{command.name}, xargs -P", command.each(images, at_once="$CORES")))
    return [Way(name=name, script=script, tool=tool, output=images.payload) for tool, name, script in ways]


def file_ways(images: Images, directories: Sequence[Measured]) -> list[Way]:
    """The images into one file: each tool's fastest way to a folder and tar, and what can do without the folder."""
    ways = []
    for tool in _FOLDERS:
        best = fastest(directories, lambda way, tool=tool: way.tool == tool).way  # type: ignore[misc]
        script = f"mkdir $OUT/images\n(OUT=$OUT/images\n{best.script}\n)\ntar -C $OUT/images -cf $OUT/site.tar ."
        ways.append(Way(name=f"{best.name}; tar", script=script, tool=tool, output=2 * images.payload, single=True))
    ways.append(
        Way(
            name="crane pull (docker-archive, no manifests)",
            script=f"{_crane_all(images)} $OUT/site.tar",
            tool="crane",
            output=images.payload,
            single=True,
            digests=False,
        )
    )
    for tool, command in _ARCHIVES.items():
        name = f"{command.name}, xargs -P ({len(images.references)} files)"
        script = command.each(images, at_once="$CORES")
        ways.append(Way(name=name, script=script, tool=tool, output=images.payload, aside=True))
    return ways


def _crane_all(images: Images, form: str = "") -> str:
    limit = _FOLDERS["crane"].limit(images)
    return " ".join([_CRANE, form, limit, *(f"$REGISTRY/{reference}" for reference in images.references)])


def verify_ways() -> list[Way]:
    """`openssl` gets the bundle's blobs as files, shared out among as many processes as there are cores."""
    openssl = "ls $WORK/blobs/blobs/sha256/* | xargs -P$CORES -n$SHARE openssl dgst -sha256"
    return [
        Way(name=BUNDLE, script="exec bundle verify $WORK/site.bundle --trust $WORK/bench.pub -q", tool=BUNDLE),
        Way(name="openssl dgst -sha256, all cores", script=openssl, tool="openssl"),
    ]


def install_ways(payload: int) -> list[Way]:
    install = "exec bundle install $WORK/site.bundle --trust $WORK/bench.pub --root $OUT/site -q"
    copy = "cp $WORK/site.bundle $OUT/site.bundle"
    parallel = "ls $WORK/blobs/blobs/sha256/* | xargs -P$CORES -n$SHARE openssl dgst -sha256"
    return [
        Way(name=BUNDLE, script=install, tool=BUNDLE, output=payload),
        Way(
            name="cp; openssl dgst -sha256",
            script=f"{copy}; openssl dgst -sha256 $OUT/site.bundle",
            tool="openssl",
            output=payload,
        ),
        Way(
            name="cp; openssl dgst -sha256, all cores",
            script=f"{copy}; {parallel}",
            tool="openssl",
            output=payload,
            aside=True,
        ),
    ]


def platform_ways(profile: str, size: int) -> list[Way]:
    """What is done with a whole profile, of which $WORK has the lock and the bundle of `size` bytes."""
    local = "--manifests $MANIFESTS"
    steps = [
        ("lock", f"lock -p {profile} {local} -o $OUT/platform.lock", 1),
        ("check LOCK", f"check $WORK/platform.lock {local}", 0),
        ("create", f"create --lock $WORK/platform.lock {local} --key $WORK/bench.key -o $OUT/platform.bundle", size),
        ("verify", "verify $WORK/platform.bundle --trust $WORK/bench.pub", 0),
        ("check BUNDLE", "check $WORK/platform.bundle --trust $WORK/bench.pub", 0),
        ("install", "install $WORK/platform.bundle --trust $WORK/bench.pub --root $OUT/site", size * 9 // 10),
    ]
    return [Way(name=name, script=f"exec bundle {step} -q", tool=BUNDLE, output=output) for name, step, output in steps]
