"""Charts from a real registry, a repository that real Helm made, and folders; out of the site again by real Helm."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import ChartChanged, InvalidDocument
from bundler.model.lock import LockedChart
from bundler.sources.chart_folder import Folder, assemble
from bundler.support.progress import Silent
from bundler.transport import Upstreams
from bundler.workflows.create import create
from bundler.workflows.install import install
from bundler.workflows.lock import lock
from bundler.workflows.look import extract, inspect
from bundler.workflows.places import Places
from bundler.workflows.verify import verify
from tests.bundles import ALICE
from tests.charts import dependency, write_chart
from tests.hostile_server import HostileServer, ok
from tests.lab import Upstream, require_go_tool, require_program
from tests.serving import Running, running

PROFILE = (
    "profile: p\nrelease: {line: p, number: 1}\nplatforms: [linux/amd64]\nbootstrap: {python: []}\ncomponents: [a]\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm:
    """Real Helm with a home of its own."""

    program: str
    home: Path

    def __call__(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        places = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [self.program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env={**os.environ, **places},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Everything on the connected side: the manifests, the lock, the bundle, and whom to ask."""

    folder: Path
    places: Places
    charts: dict[str, LockedChart]

    @property
    def bundle(self) -> Path:
        return self.folder / "p.bundle"

    def create(self, name: str) -> bytes:
        out = self.folder / name
        create(self.folder / "p.lock", out, keys=(ALICE,), places=self.places, jobs=2, progress=Silent())
        return out.read_bytes()


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(program=require_go_tool("helm"), home=tmp_path_factory.mktemp("helm"))


def signing_key(helm: Helm) -> tuple[Path, Path]:
    """The secret key ring that Helm signs with, and the public one; GnuPG's primary keys may sign, as Helm needs it."""
    gpg = [require_program("gpg"), "--homedir", str(helm.home), "--batch", "--passphrase", "", "--quiet"]
    found = []
    subprocess.run([*gpg, "--quick-generate-key", "Charts <charts@example.com>", "rsa2048", "cert,sign"], check=True)
    for option in ("--export-secret-keys", "--export"):
        found.append(helm.home / f"{option.strip('-')}.gpg")
        found[-1].write_bytes(subprocess.check_output([*gpg, option]))
    subprocess.run(["gpgconf", "--homedir", helm.home, "--kill", "gpg-agent"], check=True)
    return found[0], found[1]


@pytest.fixture(scope="module")
def carried(helm: Helm, empty_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    folder = tmp_path_factory.mktemp("charts")
    sources, packed, manifests = folder / "sources", folder / "packed", folder / "manifests"
    secret, public = signing_key(helm)
    for name, version in (("web", "1.2.0"), ("web", "1.10.0+build.7"), ("web", "2.0.0-rc.1"), ("common", "2.1.0")):
        path = write_chart(sources / version, name, version)
        helm("package", "--sign", "--key", "Charts", "--keyring", secret, "-d", packed, path)
    oci = f"oci://{empty_upstream.host}/team/charts"
    helm("push", packed / "web-1.10.0+build.7.tgz", oci, "--plain-http")
    helm("push", packed / "common-2.1.0.tgz", oci, "--plain-http")
    (packed / "web-1.10.0+build.7.tgz").rename(folder / "elsewhere.tgz")  # the repository does not have this one
    with HostileServer() as server:
        helm("repo", "index", packed)
        for file in packed.iterdir():
            server.on(f"/stable/{file.name}", ok(file.read_bytes()))
        for name in ("components", "profiles", "files"):
            (manifests / name).mkdir(parents=True)
        (manifests / "files" / "charts.gpg").write_bytes(public.read_bytes())
        shutil.copy(helm.program, manifests / "files" / "helm")
        (manifests / "profiles" / "p.yaml").write_text(PROFILE)
        (manifests / "components" / "a.yaml").write_text(
            "component: a\nfiles: [{name: helm, url: 'file:helm'}]\ntools: {helm: {file: helm}}\ncharts:\n"
            "- {chart: web, repository: oci://registry.example/team/charts, version: ^1, release: web}\n"
            "- {chart: web, repository: 'https://charts.example/stable', version: '<=1.9', release: old,"
            " keyring: 'file:charts.gpg'}\n"
            "- {chart: own, repository: 'file:own', values: {replicas: 2}}\n"
        )
        needs = [
            dependency("common", "2.x", "https://charts.example/stable"),
            dependency("common", ">=2", "oci://registry.example/team/charts") | {"alias": "again"},
            dependency("near", ">=0.1", "file://../near"),
        ]
        write_chart(
            manifests / "charts",
            "own",
            "0.1.0",
            dependencies=needs,
            add={".helmignore": b"*.bak\nnotes/\n", "old.bak": b"x", "notes/a.txt": b"x", "files/a/b.txt": b"kept"},
        )
        write_chart(manifests / "charts", "near", "0.2.0")
        upstreams = Upstreams.parse([f"registry.example={empty_upstream.url}", f"charts.example={server.url}"])
        places = Places(manifests=Manifests.of([manifests]), upstreams=upstreams)
        done = lock("p", folder / "p.lock", places=places, update=(), dry_run=False, progress=Silent())
        found = Carried(folder=folder, places=places, charts={chart.name: chart for chart in done.lock.charts})
        found.create("p.bundle")
        yield found


@pytest.fixture(scope="module")
def site(carried: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("site") / "root"
    install(carried.bundle, root, keys=(ALICE.public,), threshold=1, jobs=2, progress=Silent())
    with running(root) as found:
        yield found


def test_versions_are_chosen_as_helm_chooses_them(carried: Carried) -> None:
    assert set(carried.charts) == {"web-1.10.0+build.7.tgz", "web-1.2.0.tgz", "own-0.1.0.tgz"}
    own = carried.charts["own-0.1.0.tgz"]
    assert [(each.name, each.version) for each in own.dependencies] == [("common", "2.1.0")]


def test_a_second_lock_changes_nothing_and_another_bundle_is_the_same(carried: Carried) -> None:
    again = lock("p", carried.folder / "p.lock", places=carried.places, update=(), dry_run=True, progress=Silent())
    assert (again.changes, again.written) == ((), False)
    assert carried.create("again.bundle") == carried.bundle.read_bytes()


def test_helm_pulls_from_the_site_by_name(helm: Helm, carried: Carried, site: Running, tmp_path: Path) -> None:
    for name, chart in carried.charts.items():
        place = f"oci://127.0.0.1:{site.port}/bundle/chart/{chart.chart}"
        pull = ("pull", place, "--version", chart.version, "--plain-http", "-d", tmp_path)
        helm(*pull, *(("--prov",) if chart.provenance else ()))
        assert (tmp_path / name).read_bytes() == pulled(carried, name)
        shown = helm("show", "chart", place, "--version", chart.version, "--plain-http")
        assert f"version: {chart.version}" in shown.splitlines()
        rendered = helm("template", "r", place, "--version", chart.version, "--plain-http")
        assert f"name: r-{chart.chart}" in rendered
    assert carried.charts["web-1.2.0.tgz"].provenance
    assert (tmp_path / "web-1.2.0.tgz.prov").exists()


def pulled(carried: Carried, name: str) -> bytes:
    """The chart as `bundle extract` gives it."""
    out = carried.folder / "extracted"
    extract(carried.bundle, name, out, keys=(ALICE.public,), threshold=1)
    data = out.read_bytes()
    out.unlink()
    return data


def test_a_chart_from_a_registry_keeps_its_name_and_digest(
    helm: Helm, carried: Carried, site: Running, tmp_path: Path
) -> None:
    chart = carried.charts["web-1.10.0+build.7.tgz"]
    assert chart.manifest is not None
    place = f"oci://127.0.0.1:{site.port}/registry.example/team/charts/web"
    done = helm.run("pull", place, "--version", "1.10.0+build.7", "--plain-http", "--prov", "-d", tmp_path)
    assert str(chart.manifest.digest) in done.stdout + done.stderr
    keyring = carried.folder / "manifests/files/charts.gpg"
    helm("verify", "--keyring", keyring, tmp_path / chart.name)
    assert helm("show", "chart", place, "--version", "^1", "--plain-http")


def test_the_site_is_a_helm_repository(helm: Helm, carried: Carried, site: Running, tmp_path: Path) -> None:
    helm("repo", "add", "site", f"http://127.0.0.1:{site.port}/charts")
    listed = json.loads(helm("search", "repo", "site/", "--versions", "-o", "json"))
    assert {(each["name"], each["version"]) for each in listed} == {
        ("site/web", "1.10.0+build.7"),
        ("site/web", "1.2.0"),
        ("site/own", "0.1.0"),
    }
    keyring = carried.folder / "manifests/files/charts.gpg"
    helm("pull", "site/web", "--version", "<=1.9", "--verify", "--keyring", keyring, "-d", tmp_path)
    assert (tmp_path / "web-1.2.0.tgz").read_bytes() == pulled(carried, "web-1.2.0.tgz")
    page = site.ask("/").body.decode()
    assert f"helm repo add bundle http://127.0.0.1:{site.port}/charts" in page
    assert f"oci://127.0.0.1:{site.port}/bundle/chart/own --version 0.1.0 --plain-http" in page


def test_helm_makes_of_the_folder_what_we_make(helm: Helm, carried: Carried, tmp_path: Path) -> None:
    """`helm package` after `helm dependency` on a folder without dependencies on others: the same files."""
    folder = carried.folder / "manifests/charts/near"
    helm("package", folder, "-d", tmp_path / "theirs")
    archive = tmp_path / "own.tgz"
    archive.write_bytes(pulled(carried, "own-0.1.0.tgz"))
    helm("lint", archive)
    names = contents(archive)
    assert {f"own/charts/{name}" for name in contents(tmp_path / "theirs/near-0.2.0.tgz")} < names
    assert names - {f"own/charts/{name}" for name in contents(tmp_path / "theirs/near-0.2.0.tgz")} == {
        "own/.helmignore",
        "own/Chart.yaml",
        "own/charts/common-2.1.0.tgz",
        "own/files/a/b.txt",
        "own/templates/map.yaml",
        "own/values.yaml",
    }
    rendered = helm("template", "r", archive)
    assert {f"name: r-{name}" in rendered for name in ("own", "near", "common", "again")} == {True}


IGNORED = {
    "nothing": "",
    "patterns": "# comment\n*.bak\n/top.txt\ndocs/*.md\nsub/\n?a.txt\n",
    "classes": "[a-c]*.txt\n[^x]*.md\n\\*.bak\n",
    "folders": "docs\nfiles/deep/\n",
    "negated": "*.bak\n!*.txt\n",
    "negated folder": "!docs/\n",
    "spaces and marks": "  *.md  \n\ufeff*.bak\n",
}
TREE = ("top.txt", "docs/top.txt", "docs/a.md", "docs/x.md", "ba.txt", "a.bak", "*.bak", "sub/x/y", "files/deep/a.bak",
        "files/b", "templates/.hidden", "templates/a.yaml", "crds/b.yaml", "charts/.hidden/x", "README.md")  # fmt: skip


@pytest.mark.parametrize("rules", IGNORED)
def test_helmignore_leaves_out_what_helm_leaves_out(helm: Helm, tmp_path: Path, rules: str) -> None:
    add = dict.fromkeys(TREE, b"kind: X\n") | {".helmignore": IGNORED[rules].encode()}
    folder = write_chart(tmp_path / "charts", "own", add=add)
    done = helm.run("package", folder, "-d", tmp_path / "theirs")

    def choose(_: object) -> NoReturn:
        raise AssertionError

    try:
        _, files = assemble(Folder(path=folder, base=tmp_path / "charts"), name="own", choose=choose, fetch=choose)
    except InvalidDocument:
        assert done.returncode != 0  # "negated" leaves Chart.yaml out
        return
    assert done.returncode == 0, done.stderr
    assert {f"own/{path}" for path in files} == contents(tmp_path / "theirs/own-1.0.0.tgz")


def contents(archive: Path) -> set[str]:
    with tarfile.open(archive) as found:
        return set(found.getnames())


def test_inspect_and_verify_know_charts(carried: Carried) -> None:
    rows = {row.name: row for row in inspect(carried.bundle).rows if row.kind == "chart"}
    assert {name: row.digest for name, row in rows.items()} == {
        name: chart.digest for name, chart in carried.charts.items()
    }
    verify(carried.bundle, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())


def test_a_folder_that_changed_is_not_carried(carried: Carried) -> None:
    values = carried.folder / "manifests/charts/near/values.yaml"
    before = values.read_bytes()
    values.write_bytes(b"other: 1\n")
    try:
        with pytest.raises(ChartChanged) as caught:
            carried.create("changed.bundle")
    finally:
        values.write_bytes(before)
    assert caught.value.chart == "own-0.1.0.tgz"
    assert "bundle lock -p p" in caught.value.command
    assert not (carried.folder / "changed.bundle").exists()
