"""`scripts/bench`: prepare the lab, run what was asked for, show the tables."""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from scripts.lab.bench_lab import Lab, Platform, platform_lab, random_lab, say
from scripts.lab.bench_measure import fastest
from scripts.lab.bench_report import (
    Report,
    Target,
    disk_target,
    machine_line,
    measured_table,
    memory_target,
    ratio,
    step_table,
    target_table,
)
from scripts.lab.bench_ways import contest, install_ways, plain_way, platform_ways, slow_ways, verify_ways

VERBS = ("create", "verify", "install", "slow")
RATE, LATENCY, JOBS = 30e6, 0.08, (4, 8)


def main() -> None:
    options = parse()
    start, load = datetime.now(UTC), os.getloadavg()[0]
    with ExitStack() as stack:
        work = Path(options.work or stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if options.verb == "platform":
            what, reports = of_platform(options, work, stack)
        else:
            what, reports = of_images(options, work, stack)
        machine = machine_line(work)
    head = (
        f"{start:%Y-%m-%d}, `scripts/bench {shlex.join(sys.argv[1:])}`: {what}. Medians of {options.runs} runs, load"
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
    parser.add_argument("verb", choices=(*VERBS, "all", "platform"))
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each (default: 5)")
    parser.add_argument("--images", type=int, help="images in the registry (default: 10; platform: all there are)")
    parser.add_argument("--layers", type=int, default=5, help="layers of each image (default: 5)")
    parser.add_argument("--bytes", default="20M", metavar="SIZE", help="of each layer: 64K, 20M… (default: 20M)")
    parser.add_argument("--small", action="store_true", help="platform: without the drivers")
    parser.add_argument("--work", metavar="DIR", help="a folder on the disk to measure (default: one in /var/tmp)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    return parser.parse_args()


def of_images(options: argparse.Namespace, work: Path, stack: ExitStack) -> tuple[str, list[Report]]:
    count = options.images or 10
    recipe = random_lab(work, images=count, layers=options.layers, size=options.bytes, runs=options.runs)
    lab = stack.enter_context(recipe)
    total = f"{lab.images.payload / 1e9:.2f} GB in all"
    what = f"{count} images of {options.layers} random layers of {options.bytes}B, {total}"
    return what, [REPORTS[verb](lab) for verb in (VERBS if options.verb == "all" else (options.verb,))]


def of_platform(options: argparse.Namespace, work: Path, stack: ExitStack) -> tuple[str, list[Report]]:
    profile = "lab-kubernetes-small" if options.small else "lab-kubernetes"
    recipe = platform_lab(work, profile=profile, big=not options.small, images=options.images, runs=options.runs)
    platform = stack.enter_context(recipe)
    return f"the profile {profile}, {platform.contents}", [whole(platform), image_part(platform.lab)]


# --- what is measured


def create(lab: Lab) -> Report:
    say("create, into folders and into files")
    return compared(lab, limit_folder=1.0, limit_file=0.65)


def whole(platform: Platform) -> Report:
    say("the whole profile")
    found = platform.lab.bench.alternate(platform_ways(platform.profile, platform.size), platform.lab.runs)
    text = f"### The whole profile: {platform.size / 1e9:.2f} GB in one file\n\n{step_table(found)}"
    return Report(text=text, targets=())


def image_part(lab: Lab) -> Report:
    say("the images of the profile alone")
    return compared(lab, limit_folder=0.8, limit_file=0.8)


def compared(lab: Lab, *, limit_folder: float, limit_file: float) -> Report:
    folders, files = contest(lab.bench, lab.images, lab.runs)
    payload = lab.images.payload
    text = "\n\n".join(
        [
            "### create: the images into a folder (bundle: into its one signed file)",
            measured_table(folders, payload),
            "### create: the images into a single file",
            measured_table(files, payload),
        ]
    )
    rivals = (
        ("into a folder", folders, fastest(folders[1:], lambda way: True), limit_folder),
        ("into a file", files, fastest(files[1:], lambda way: way.single), limit_file),
        ("into a file, digests kept", files, fastest(files[1:], lambda way: way.single and way.digests), limit_file),
    )
    times = [
        Target(what=f"create / fastest {what} ({rival.way.name})", value=ratio(found[0], rival), limit=limit)
        for what, found, rival, limit in rivals
    ]
    memory, disk = memory_target("create", folders[0], files[0]), disk_target("create", payload, folders[0], files[0])
    return Report(text=text, targets=(*times, memory, disk))


def verify(lab: Lab) -> Report:
    say("verify")
    found = lab.bench.alternate(verify_ways(), lab.runs)
    text = "### verify\n\n" + measured_table(found, lab.images.payload)
    speed = Target(what="verify, speed / openssl × cores", value=1 / ratio(*found), limit=0.9, least=True)
    return Report(text=text, targets=(speed, memory_target("verify", found[0])))


def install(lab: Lab) -> Report:
    say("install")
    found = lab.bench.alternate(install_ways(lab.images.payload), lab.runs)
    text = "### install\n\n" + measured_table(found, lab.images.payload)
    time = Target(what="install / (cp + openssl dgst)", value=ratio(found[0], found[1]), limit=1.2)
    return Report(text=text, targets=(time, memory_target("install", found[0])))


def slow(lab: Lab) -> Report:
    """Through the proxy, against the time that as many connections take at their full rate."""
    say("create over a slow link")
    payload = lab.images.payload
    with proxied(lab.registry) as port:
        free = lab.bench.alternate([plain_way("curl", port, jobs=max(JOBS))], 1)[0]
    with proxied(lab.registry, rate=RATE, latency=LATENCY) as port:
        ways = [slow_ways(payload, port, jobs=jobs) for jobs in JOBS]
        found = lab.bench.alternate([way for pair in ways for way in pair], lab.runs)
    text = ["### create over a link that gives each connection 30 MB/s and 80 ms"]
    targets = []
    for number, jobs in enumerate(JOBS):
        ideal = payload / (jobs * RATE)
        pair = found[2 * number : 2 * number + 2]
        text += [f"{jobs} connections at 30 MB/s need {ideal:.2f} s at least:", measured_table(pair, payload)]
        value = pair[0].seconds / ideal
        targets.append(Target(what=f"slow link, {jobs} jobs / {jobs} × 30 MB/s", value=value, limit=1.15))
    text.append(
        f"Without its limits the proxy passes {payload / free.seconds / 1e6:.0f} MB/s: it is not what is measured."
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


REPORTS = {"create": create, "verify": verify, "install": install, "slow": slow}

if __name__ == "__main__":
    main()
