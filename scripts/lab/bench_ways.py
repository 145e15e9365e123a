"""The ways to do the same work that are measured against one another. Scripts use these variables: $OUT, where output
goes; $WORK, which has what was prepared; $REGISTRY, the host and port; $IMAGES, the images' names in `bench/`; $CORES.
"""

from collections.abc import Sequence

from scripts.lab.bench_measure import Measured, Way, fastest

BUNDLE = "bundle"
_CREATE = "exec bundle create --lock $WORK/bench.lock --key $WORK/bench.key -q -o $OUT/site.bundle"

_CRANE = "crane pull --insecure --format=oci"
_ORAS = "oras cp --no-tty --from-plain-http --to-oci-layout"
_REGCTL = "regctl --host reg=$REGISTRY,tls=disabled image"
_SKOPEO = "skopeo copy -q --src-tls-verify=false"
_ONE_BY_ONE = {
    "skopeo": ("skopeo copy dir:", f"{_SKOPEO} docker://$REGISTRY/bench/{{}}:1 dir:$OUT/{{}}"),
    "crane": ("crane pull --format=oci", f"{_CRANE} $REGISTRY/bench/{{}}:1 $OUT/{{}}"),
    "oras": ("oras cp --to-oci-layout", f"{_ORAS} $REGISTRY/bench/{{}}:1 $OUT/{{}}:1"),
    "regctl": ("regctl image copy ocidir:", f"{_REGCTL} copy $REGISTRY/bench/{{}}:1 ocidir://$OUT/{{}}:1"),
}
# They make one archive an image, not one for all.
_ARCHIVES = {
    "skopeo": (
        "skopeo copy oci-archive:",
        f"{_SKOPEO} --dest-oci-accept-uncompressed-layers docker://$REGISTRY/bench/{{}}:1 oci-archive:$OUT/{{}}.tar",
    ),
    "oras": ("oras backup", "oras backup --no-tty --plain-http --output $OUT/{}.tar $REGISTRY/bench/{}:1"),
    "regctl": ("regctl image export", f"{_REGCTL} export $REGISTRY/bench/{{}}:1 $OUT/{{}}.tar"),
}
_ALL_AT_ONCE = '$(printf "$REGISTRY/bench/%s:1 " $IMAGES)'


def for_each(command: str, *, at_once: str = "1") -> str:
    return f'printf "%s\\n" $IMAGES | xargs -P{at_once} -I{{}} {command}'


def create_way(payload: int) -> Way:
    script = f"{_CREATE} --upstream bench.example=http://$REGISTRY"
    return Way(name=BUNDLE, script=script, tool=BUNDLE, output=payload, single=True)


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


def directory_ways(payload: int) -> list[Way]:
    """The images into a folder; each tool in one process where it can, one after the other, and on all cores."""
    ways = [
        ("skopeo", "skopeo sync dir:", "skopeo sync --src yaml --dest dir $WORK/skopeo.yaml $OUT"),
        ("crane", "crane pull --format=oci, one process", f"{_CRANE} {_ALL_AT_ONCE} $OUT/all"),
    ]
    for tool, (name, command) in _ONE_BY_ONE.items():
        ways.append((tool, name, for_each(command)))
        ways.append((tool, f"{name}, xargs -P", for_each(command, at_once="$CORES")))
    return [Way(name=name, script=script, tool=tool, output=payload) for tool, name, script in ways]


def file_ways(payload: int, directories: Sequence[Measured]) -> list[Way]:
    """The images into one file: each tool's fastest way to a folder and tar, and what can do without the folder."""
    ways = []
    for tool in _ONE_BY_ONE:
        best = fastest(directories, lambda way, tool=tool: way.tool == tool).way  # type: ignore[misc]
        inside = f'(OUT=$OUT/images; mkdir "$OUT"; {best.script})'
        script = f'{inside}; tar -C "$OUT/images" -cf "$OUT/site.tar" .'
        ways.append(Way(name=f"{best.name}; tar", script=script, tool=tool, output=2 * payload, single=True))
    tarball = f"crane pull --insecure {_ALL_AT_ONCE} $OUT/site.tar"
    ways.append(Way(name="crane pull (docker-archive)", script=tarball, tool="crane", output=payload, single=True))
    for tool, (name, command) in _ARCHIVES.items():
        script = for_each(command, at_once="$CORES")
        ways.append(Way(name=f"{name}, xargs -P (ten files)", script=script, tool=tool, output=payload, aside=True))
    return ways


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
