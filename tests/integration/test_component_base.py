"""What base writes, read by the programs that it is for; and on real machines: from a mess to the site, and back."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bundler.components.base import clients, sources
from bundler.components.base.settings import parse_settings as parse_base
from bundler.components.registry.settings import parse_settings as parse_registry
from bundler.errors import Unhealthy
from bundler.model.digest import Digest
from bundler.model.site_parser import parse_site
from bundler.signing.openpgp import create_apt_key
from bundler.steps.facts import Facts
from bundler.views.clients import apt_sources, containerd_hosts
from tests import goals
from tests.content import MANIFEST, TestSite, describe, make_deb, make_image
from tests.lab import ROOT, lab_program, require_program, require_root, unpacked
from tests.nodes import Lab, lab_of, site_bundle
from tests.registries import PASSWORD, USER, real_registry

IMAGES = {"docker.io/library/x:1": make_image({"x": b"x"})}
GOLDEN = ROOT / "tests/unit/components/base/golden"
OWN_REPOSITORIES = """\
apiVersion: ""
repositories:
- name: own
  url: https://own.example
- name: more
  url: https://more.example
"""
PROXY = "http://user:word@proxy.example:3128"


def call(*command: object, **more: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **more},
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("chrony*.conf")), ids=lambda path: path.name)
def test_chrony_reads_its_configuration(path: Path) -> None:
    chronyd = unpacked("chrony") / "usr/sbin/chronyd"
    said = call(chronyd, "-p", "-f", path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert said.splitlines() == lines


def test_apt_reads_its_sources_and_options(tmp_path: Path) -> None:
    """In a root of its own, from a folder, as a site host does."""
    require_program("apt-get")
    site = TestSite(tmp_path / "site")
    site.deb(make_deb("tiny"))
    published = site.publish("one", key=create_apt_key("Tiny"))
    with tempfile.TemporaryDirectory() as made:  # apt reads keys as another user, who must get there
        root = Path(made)
        root.chmod(0o755)
        for folder in ("etc/apt/sources.list.d", "state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True)
        key, status = root / "key.asc", root / "status"
        key.write_bytes((published / "apt/debian/key.asc").read_bytes())
        status.touch()
        stanza = apt_sources(uri=f"file:{published}/apt/debian", release="bookworm", signed_by=str(key))
        (root / "etc/apt/sources.list.d/bundle.sources").write_text(stanza)
        site_yaml = parse_site(goals.SITE, file="site.yaml", components={})
        (root / "apt.conf").write_text(
            f'Dir "{root}";\nDir::Etc "{root}/etc/apt";\nDir::State "{root}/state";\nDir::Cache "{root}/cache";\n'
            f'Dir::State::status "{status}";\nAPT::Architecture "amd64";\nAPT::Sandbox::User "root";\n'
            'APT::Update::Error-Mode "any";\n' + sources.options_text(site_yaml)
        )
        config = {"APT_CONFIG": str(root / "apt.conf")}
        call("apt-get", "-qq", "update", **config)
        assert "1.0-1" in call("apt-cache", "policy", "tiny", **config)
        dump = call("apt-config", "dump", **config)
        assert f'Acquire::https::repo.lab.example::CaInfo "{sources.CA}";' in dump
        assert 'APT::Periodic::Enable "0";' in dump


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of every client's file, by its path."""
    parsers = {"base": parse_base, "registry": parse_registry}
    bundle = goals.release(tmp_path_factory.mktemp("release"), images=IMAGES)
    goal = goals.goal_of(bundle, parsers)
    return {file.path: str(file.content) for file in clients.files(goal.site, goal.lock, "CA\n")}


def test_pip_and_uv_read_their_configuration(texts: dict[str, str], tmp_path: Path) -> None:
    pip, uv = tmp_path / "pip.conf", tmp_path / "uv.toml"
    pip.write_text(texts[clients.PIP])
    uv.write_text(texts[clients.UV])
    said = call(sys.executable, "-m", "pip", "config", "list", PIP_CONFIG_FILE=str(pip))
    assert "global.index-url='https://repo.lab.example/pypi/simple/'" in said
    (tmp_path / "asked").write_text("tiny\n")
    command = [sys.executable, "-m", "uv", "--config-file", uv, "pip", "compile", tmp_path / "asked"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert "https://repo.lab.example/pypi/simple/tiny/" in done.stderr  # which is not there
    assert "warning" not in done.stderr.lower()


def test_helm_knows_the_charts_beside_its_own_repositories(tmp_path: Path) -> None:
    helm, path = lab_program("helm") / "helm", tmp_path / "helm/repositories.yaml"
    charts = clients.Helm(base="https://repo.lab.example")
    for given in ("", "repositories: []\n", OWN_REPOSITORIES):
        path.parent.mkdir(exist_ok=True)
        path.write_text(given)
        for base in ("https://old.example", "https://repo.lab.example", "https://repo.lab.example"):
            text = next(iter(clients.Helm(base=base).wanted(Facts({"h": {charts.fact: False}}).of("h")))).script().text
            call("sh", "-c", text.replace(clients.HELM, str(path)))
        names = [each["name"] for each in yaml.safe_load(path.read_text())["repositories"]]
        assert names == (["bundle", "own", "more"] if "own" in given else ["bundle"])
        listed = json.loads(call(helm, "--repository-config", path, "repo", "list", "-o", "json"))
        assert listed[0] == {"name": "bundle", "url": "https://repo.lab.example/charts"}
        asked = charts.fact.script.replace(clients.HELM, str(path))
        assert charts.fact.reading(call("sh", "-c", asked))
        away = next(iter(charts.unwanted(Facts({"h": {charts.fact: True}}).of("h"), purge=False)))
        call("sh", "-c", away.script().text.replace(clients.HELM, str(path)))
        assert "repo.lab.example" not in path.read_text()


@contextmanager
def containerd(programs: Path, folder: Path) -> Iterator[list[object]]:
    """The command ctr, with a containerd of its own behind it."""
    config, socket = folder / "config.toml", folder / "socket"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{socket}"\n'
        # What 2 pulls is unpacked by itself, and not by ctr.
        '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
        '  platform = "linux/amd64"\n  snapshotter = "native"\n'
    )
    command: list[object] = [programs / "ctr", "--address", socket, "--namespace", "base"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([programs / "containerd", "--config", config], stdout=log, stderr=log)
        try:
            for _ in range(100):
                if subprocess.run([*map(str, command), "version"], capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.1)
            yield command
        finally:
            server.terminate()
            server.wait(timeout=30)


@pytest.mark.parametrize("version", ["1.6", "2"])
@pytest.mark.parametrize("login", [False, True])
def test_containerd_pulls_by_its_hosts_files(version: str, tmp_path: Path, *, login: bool) -> None:
    """From a registry that knows nothing of other registries' names, by TLS of a private CA, past a dead site host; and
    where it wants a password, with the one in these files, which every request has, and with no other."""
    require_root()
    skopeo = require_program("skopeo")
    programs = unpacked("containerd") / "usr/bin" if version == "1.6" else lab_program("containerd")
    image = make_image({"x": b"x"})
    layout = tmp_path / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (*image.manifests, *image.blobs):
        (blobs / Digest.of(blob).hex).write_bytes(blob)
    entry = {**describe(image.root, MANIFEST), "annotations": {"org.opencontainers.image.ref.name": "x"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with (
        real_registry(tmp_path / "registry", tls=True, auth=login) as registry,
        containerd(programs, tmp_path) as ctr,
    ):
        target = f"docker://{registry.address}/docker.io/library/x:1"
        options = ["--dest-tls-verify=false", *(["--dest-creds", f"{USER}:{PASSWORD}"] if login else [])]
        call(skopeo, "copy", "-q", "--preserve-digests", *options, f"oci:{layout}:x", target)

        def write_hosts(user: str) -> Path:
            certs = tmp_path / f"certs-{user}.d"
            basic = f"Basic {base64.b64encode(f'{user}:{PASSWORD}'.encode()).decode()}"
            for host, namespace in (("docker.io", "docker.io"), (registry.address, "")):
                text = containerd_hosts(
                    registry.url,
                    mirrors=("https://127.0.0.1:9",) if namespace else (),
                    namespace=namespace,
                    ca=str(registry.authority),
                    authorization=basic if login else "",
                )
                (certs / host).mkdir(parents=True)
                (certs / host / "hosts.toml").write_text(text)
            return certs

        certs, wrong = write_hosts(USER), write_hosts("other")
        for name in ("docker.io/library/x", f"{registry.address}/docker.io/library/x"):
            for reference in (f"{name}:1", f"{name}@{Digest.of(image.root)}"):
                pull = [*map(str, ctr), "images", "pull", "--snapshotter", "native", "--hosts-dir"]
                if login:
                    said = subprocess.run([*pull, wrong, reference], capture_output=True, text=True, check=False)
                    assert said.returncode != 0
                    if name.startswith(registry.address):  # else it tells of the dead one
                        assert "auth" in said.stderr
                call(*pull, certs, reference)
                assert reference in call(*ctr, "images", "list", "-q")


MESS = """\
printf 'deb http://deb.example/debian bookworm main\\n' > /etc/apt/sources.list
printf 'Types: deb\\nURIs: http://more.example/\\nSuites: ./\\n' > /etc/apt/sources.list.d/more.sources
mkdir -p /run/elsewhere /etc/xdg/pip && echo 'nameserver 192.0.2.1' > /run/elsewhere/resolv.conf
ln -sf ../run/elsewhere/resolv.conf /etc/resolv.conf
printf '127.0.0.1 localhost\\n192.0.2.7 repo.lab.example\\\n' > /etc/hosts
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A site host, and one that was set up for another place; both with the release."""
    with lab_of(2) as made:
        made.run("n2", MESS)
        yield made


def bundle(lab: Lab, *words: str, expected: int = 0) -> str:
    """The tool, as whoever installs runs it."""
    site = lab.state / "site.yaml"
    if not site.exists():
        site.write_text(lab.site_yaml())
    command = [sys.executable, "-m", "bundler", *words, "--site", str(site)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=570, check=False, env=lab.environment, cwd=ROOT
    )
    assert done.returncode == expected, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def install(lab: Lab, *, expected: int = 0) -> str:
    made = site_bundle()
    return bundle(lab, "install", str(made.path), "--trust", str(made.public), "-y", expected=expected)


def test_a_proxy_is_found_before_the_first_change(lab: Lab) -> None:
    lab.run("n2", f"echo 'http_proxy={PROXY}' >> /etc/environment")
    said = install(lab, expected=99)
    lab.run("n2", "sed -i /http_proxy/d /etc/environment")
    assert "/etc/environment" in said
    assert "word" not in said
    assert lab.ask("n2", "ls /etc/bundle").returncode != 0


def test_from_a_mess_to_the_site(lab: Lab) -> None:
    lab.packets(reset=True)
    install(lab)
    for name in ("sources.list", "sources.list.d/more.sources"):
        assert lab.ask("n2", f"test -e /etc/apt/{name}").returncode == 1
        lab.run("n2", f"test -e /var/lib/bundle/before/etc/apt/{name}")
    for node in ("n1", "n2"):
        assert lab.run(node, "getent -s hosts:dns hosts repo.lab.example").split()[0] == lab.node("n1").address
        assert "bundle.sources" in lab.run(node, "ls /etc/apt/sources.list.d")
        lab.run(node, "apt-get -qq -o APT::Update::Error-Mode=any update")
        lab.run(node, "openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /etc/bundle/ca.crt")
        assert lab.run(node, "cat /proc/sys/vm/swappiness") == "10"
        assert "65536" in lab.run(node, "systemctl show -p DefaultLimitNOFILESoft")
    assert lab.run("n2", "test -L /etc/resolv.conf || stat -c %F /etc/resolv.conf") == "regular file"
    assert lab.packets()["left"] == 0


def test_hosts_follow_the_site_host(lab: Lab) -> None:
    lab.run("n2", "chronyc waitsync 60 0 0 1")
    leader = lab.run("n2", "chronyc -c -n tracking").split(",")
    assert (leader[1], leader[2], leader[13]) == (lab.node("n1").address, "11", "Normal")
    assert lab.run("n2", "chronyc -c -n sources | cut -d, -f3") == lab.node("n1").address


BROKEN = """\
echo 'nameserver 192.0.2.1' > /etc/resolv.conf
systemctl stop chrony
rm /etc/pip.conf /usr/local/share/ca-certificates/bundle-*.crt
update-ca-certificates
echo 'deb http://deb.example/ x main' > /etc/apt/sources.list.d/x.list
echo 5 > /proc/sys/vm/swappiness
mkdir -p /root/.config/pip
printf '[global]\\nindex-url = http://pip.example/\\n' > /root/.config/pip/pip.conf
"""


def test_what_is_broken_by_hand_is_found_and_put_back(lab: Lab) -> None:
    lab.run("n2", BROKEN)
    said = bundle(lab, "health", expected=Unhealthy.exit_code)
    for found in ("resolv.conf is not", "chrony.service is inactive", "not trusted", "deb.example", "pip.example"):
        assert found in said
    bundle(lab, "apply", "-y")
    lab.run("n2", "rm /root/.config/pip/pip.conf; grep -q repo.lab.example /etc/pip.conf")
    assert lab.run("n2", "cat /proc/sys/vm/swappiness") == "10"
    bundle(lab, "apply", "-y", "--only", "base", "--detailed-exitcode")  # 0: nothing to do


def test_taken_away_it_leaves_what_was_there(lab: Lab) -> None:
    bundle(lab, "uninstall", "base", "-y", "--limit", "n2")
    assert "deb.example/debian" in lab.run("n2", "cat /etc/apt/sources.list")
    assert lab.run("n2", "readlink /etc/resolv.conf") == "../run/elsewhere/resolv.conf"
    assert "192.0.2.7 repo.lab.example" in lab.run("n2", "cat /etc/hosts")
    left = lab.run(
        "n2", "ls /etc/pip.conf /etc/sysctl.d/*bundle* /etc/containerd/certs.d/*/hosts.toml 2>/dev/null || :"
    )
    assert left == ""
