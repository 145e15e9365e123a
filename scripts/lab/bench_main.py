"""`scripts/bench`: prepare the lab, run what was asked for, show the tables."""

import argparse
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.lab.bench_measure import Bench, Measured, fastest
from scripts.lab.bench_report import Target, machine_line, measured_table, target_table
from scripts.lab.bench_ways import (
    create_way,
    directory_ways,
    file_ways,
    install_ways,
    plain_way,
    slow_ways,
    verify_ways,
)

LAB = Path(__file__).resolve().parent
VERBS = ("create", "verify", "install", "slow")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
RATE, LATENCY, JOBS = 30e6, 0.08, (4, 8)
MEMORY_LIMIT, DISK_LIMIT = 60.0, 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What everything is measured on. `payload` is the size of all layers in bytes."""

    bench: Bench
    registry: str
    payload: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`targets` are judged from the runs that `text` shows."""

    text: str
    targets: tuple[Target, ...]


def main() -> None:
    options = parse()
    start, load = datetime.now(UTC), os.getloadavg()[0]
    with ExitStack() as stack:
        work = Path(options.work or stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))).resolve()
        lab = stack.enter_context(prepared(options, work))
        reports = [REPORTS[verb](lab) for verb in (VERBS if options.verb == "all" else (options.verb,))]
        machine = machine_line(work)
    head = (
        f"{start:%Y-%m-%d}, `scripts/bench {shlex.join(sys.argv[1:])}`: {options.images} images of {options.layers}"
        f" random layers of {options.bytes}B, {lab.payload / 1e9:.2f} GB in all. Medians of {options.runs} runs, load"
        f" {load:.1f} at the start."
    )
    targets = [target for report in reports for target in report.targets]
    parts = [head, machine, *(report.text for report in reports), "### Targets", target_table(targets)]
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the tool beside others. See scripts/bench.")
    parser.add_argument("verb", choices=(*VERBS, "all"))
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each (default: 5)")
    parser.add_argument("--images", type=int, default=10, help="images in the registry (default: 10)")
    parser.add_argument("--layers", type=int, default=5, help="layers of each image (default: 5)")
    parser.add_argument("--bytes", default="20M", metavar="SIZE", help="of each layer: 64K, 20M… (default: 20M)")
    parser.add_argument("--work", metavar="DIR", help="a folder on the disk to measure (default: one in /var/tmp)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    return parser.parse_args()


def byte_count(text: str) -> int:
    """A size as random-images takes it."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    return int(text.rstrip("kKmMgG")) * factor


# --- the lab


@contextmanager
def prepared(options: argparse.Namespace, work: Path) -> Iterator[Lab]:
    """The registry with the images, and in `work` a lock, a key, a bundle and its blobs as files."""
    recipe = f"{options.images}x{options.layers}x{options.bytes}"
    names = [f"image-{number:02}" for number in range(options.images)]
    work.mkdir(parents=True, exist_ok=True)
    with registry_of(recipe) as url:
        say(f"registry at {url}, images {recipe}")
        many = [str(options.images), "--blobs", str(options.layers), "--bytes", options.bytes]
        script("random-images", *many, "--prefix", "bench/", "--registry", url)
        variables = {
            "WORK": str(work),
            "REGISTRY": url.removeprefix("http://"),
            "IMAGES": " ".join(names),
            "CORES": str(len(os.sched_getaffinity(0))),
        }
        write_inputs(work, names, variables)
        variables["SHARE"] = str(-(-len(list((work / "blobs/blobs/sha256").iterdir())) // int(variables["CORES"])))
        payload = options.images * options.layers * byte_count(options.bytes)
        yield Lab(bench=Bench(work, variables), registry=variables["REGISTRY"], payload=payload, runs=options.runs)


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


def write_inputs(work: Path, names: Sequence[str], variables: dict[str, str]) -> None:
    """Everything that the ways read; the images are only named here, at a registry of no address."""
    for name in ("bench.key", "bench.pub", "bench.lock", "site.bundle"):
        (work / name).unlink(missing_ok=True)
    shutil.rmtree(work / "blobs", ignore_errors=True)
    for folder in ("profiles", "components"):
        (work / "manifests" / folder).mkdir(parents=True, exist_ok=True)
    lines = ["profile: bench", "release: {line: bench, number: 1}", f"platforms: [linux/{architecture()}]"]
    lines += ["bootstrap: {python: []}", "components: [images]"]
    (work / "manifests/profiles/bench.yaml").write_text("\n".join(lines) + "\n")
    lines = ["component: images", "images:", *(f"- bench.example/bench/{name}:1" for name in names)]
    (work / "manifests/components/images.yaml").write_text("\n".join(lines) + "\n")
    images = [f'    bench/{name}: ["1"]' for name in names]
    lines = [f'"{variables["REGISTRY"]}":', "  tls-verify: false", "  images:", *images]
    (work / "skopeo.yaml").write_text("\n".join(lines) + "\n")

    upstream = ["--upstream", f"bench.example=http://{variables['REGISTRY']}"]
    run("bundle", "keys", "create", str(work / "bench"))
    run("bundle", "lock", "-p", str(work / "manifests/profiles/bench.yaml"), *upstream, "-o", str(work / "bench.lock"))
    inputs = ["--lock", str(work / "bench.lock"), "--key", str(work / "bench.key"), "-o", str(work / "site.bundle")]
    run("bundle", "create", *inputs, *upstream)
    (work / "blobs").mkdir()
    run("tar", "-C", str(work / "blobs"), "-xf", str(work / "site.bundle"), "blobs")
    paths = [path for name in names for path in layer_paths(f"http://{variables['REGISTRY']}", f"bench/{name}")]
    (work / "layers.txt").write_text("\n".join(paths) + "\n")


def layer_paths(url: str, name: str) -> list[str]:
    """Where the registry has the layers of an image."""
    manifest = json.loads(run("curl", "-sf", "-H", f"Accept: {MANIFEST}", f"{url}/v2/{name}/manifests/1"))
    return [f"v2/{name}/blobs/{layer['digest']}" for layer in manifest["layers"]]


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def script(name: str, *arguments: str) -> str:
    return run(str(LAB / name), *arguments)


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed ({done.returncode}):\n{done.stderr[-4000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- what is measured


def create(lab: Lab) -> Report:
    say("create, into a folder")
    ours = create_way(lab.payload)
    folders = lab.bench.alternate([ours, *directory_ways(lab.payload)], lab.runs)
    say("create, into a file")
    files = lab.bench.alternate([ours, *file_ways(lab.payload, folders)], lab.runs)
    folder = fastest(folders[1:], lambda way: True)
    file = fastest(files[1:], lambda way: way.single)
    text = "\n\n".join(
        [
            "### create: the images into a folder (bundle: into its one signed file)",
            measured_table(folders, lab.payload),
            "### create: the images into a single file",
            measured_table(files, lab.payload),
        ]
    )
    targets = (
        Target(what=f"create / fastest into a folder ({folder.way.name})", value=ratio(folders[0], folder), limit=1.0),
        Target(what=f"create / fastest into a file ({file.way.name})", value=ratio(files[0], file), limit=0.65),
        memory_target("create", *folders[:1], *files[:1]),
        Target(
            what="create, peak disk / payload",
            value=max(folders[0].disk, files[0].disk) / lab.payload,
            limit=DISK_LIMIT,
        ),
    )
    return Report(text=text, targets=targets)


def verify(lab: Lab) -> Report:
    say("verify")
    found = lab.bench.alternate(verify_ways(), lab.runs)
    text = "### verify\n\n" + measured_table(found, lab.payload)
    speed = Target(what="verify, speed / openssl × cores", value=1 / ratio(*found), limit=0.9, least=True)
    return Report(text=text, targets=(speed, memory_target("verify", found[0])))


def install(lab: Lab) -> Report:
    say("install")
    found = lab.bench.alternate(install_ways(lab.payload), lab.runs)
    text = "### install\n\n" + measured_table(found, lab.payload)
    time = Target(what="install / (cp + openssl dgst)", value=ratio(found[0], found[1]), limit=1.2)
    return Report(text=text, targets=(time, memory_target("install", found[0])))


def slow(lab: Lab) -> Report:
    """Through the proxy, against the time that as many connections take at their full rate."""
    say("create over a slow link")
    with proxied(lab.registry) as port:
        free = lab.bench.alternate([plain_way("curl", port, jobs=max(JOBS))], 1)[0]
    with proxied(lab.registry, rate=RATE, latency=LATENCY) as port:
        ways = [slow_ways(lab.payload, port, jobs=jobs) for jobs in JOBS]
        found = lab.bench.alternate([way for pair in ways for way in pair], lab.runs)
    text = ["### create over a link that gives each connection 30 MB/s and 80 ms"]
    targets = []
    for number, jobs in enumerate(JOBS):
        ideal = lab.payload / (jobs * RATE)
        pair = found[2 * number : 2 * number + 2]
        text += [f"{jobs} connections at 30 MB/s need {ideal:.2f} s at least:", measured_table(pair, lab.payload)]
        value = pair[0].seconds / ideal
        targets.append(Target(what=f"slow link, {jobs} jobs / {jobs} × 30 MB/s", value=value, limit=1.15))
    text.append(
        f"Without its limits the proxy passes {lab.payload / free.seconds / 1e6:.0f} MB/s: it is not what is measured."
    )
    return Report(text="\n\n".join(text), targets=tuple(targets))


@contextmanager
def proxied(registry: str, *, rate: float = 1e12, latency: float = 0.0) -> Iterator[int]:
    """The port of a slow way to the registry."""
    command = [
        sys.executable,
        "-m",
        "scripts.lab.bench_proxy",
        registry,
        "--rate",
        str(rate),
        "--latency",
        str(latency),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield int(proxy.stdout.readline())
        finally:
            proxy.kill()


def memory_target(verb: str, *found: Measured) -> Target:
    peak = max(each.memory for each in found) / 1e6
    return Target(what=f"{verb}, peak memory", value=peak, limit=MEMORY_LIMIT, unit="MB")


def ratio(ours: Measured, other: Measured) -> float:
    return ours.seconds / other.seconds


REPORTS = {"create": create, "verify": verify, "install": install, "slow": slow}

if __name__ == "__main__":
    main()
