"""A site whose registry wants a password, on real machines: its own hosts have one, nobody else, and it changes."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bundler.components.base.logins import PATH
from bundler.components.registry.settings import HOSTS
from bundler.model.lock_parser import parse_lock
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from tests.campaign_site import LEAVES_NOTHING, SHARED_KERNEL, Office, own_bundle
from tests.nodes import Lab, lab_of

SECRET = f"registry.password.{HOSTS}"
CERTS = "/etc/containerd/certs.d"
# What root on n2 had before the site came.
OTHERS = {"auths": {"other.example": {"auth": base64.b64encode(b"me:mine").decode()}}, "psFormat": "x"}
OPEN = SHARED_KERNEL
CLOSED = f"{SHARED_KERNEL[:-1]}, registry: {{auth: {{users: [reader]}}}}}}"
PAUSE, PODMANS = "registry.k8s.io/pause", "quay.io/metallb/controller"
ANONYMOUS = "curl -s -o /dev/null -w '%{http_code}' https://registry.lab.example:5000/v2/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    office: Office

    @property
    def lab(self) -> Lab:
        return self.office.lab

    def password(self, name: str = SECRET) -> str:
        path = self.office.folder / "site.secrets"
        found = Vault.open(path, KeyFile(path=path.with_name(f"{path.name}.key"))).get(name)
        assert found is not None
        return found.reveal()

    def pinned(self, name: str) -> str:
        lock = parse_lock(self.office.bundle.lock.read_text(), file="site.lock")
        found = next(image for image in lock.images if str(image.reference).startswith(f"{name}:"))
        return f"{name}@{found.root.digest}"

    def declare(self, components: str) -> None:
        self.office.write_site(roles={"n1": ["site"], "n2": []}, user="ops", become=True, components=components)

    def pull(self, *references: str, by: str) -> list[str]:
        """Pull each anew; those that were refused, with what was said."""
        refused = []
        for reference in references:
            if by == "podman":
                command = f"podman rmi -f -a >/dev/null 2>&1; podman pull -q {reference}"
            else:
                command = (
                    "ctr images ls -q | xargs -r ctr images rm --sync >/dev/null; "
                    f"ctr images pull --hosts-dir {CERTS} {reference}"
                )
            said = self.lab.ask("n2", command, timeout=300)
            if said.returncode:
                refused.append((said.stdout + said.stderr).decode())
        return refused


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab_of(2) as lab:
        folder = tmp_path_factory.mktemp("site")
        made = Site(office=Office(lab=lab, folder=folder, bundle=own_bundle(folder)))
        made.declare(OPEN)
        lab.run("n2", f"mkdir -p /root/.docker; cat >{PATH}; chmod 644 {PATH}", stdin=json.dumps(OTHERS).encode())
        made.office.run("install", *made.office.release, "--site", "site.yaml", "--yes")
        names = "podman crun conmon netavark aardvark-dns catatonit uidmap containerd runc skopeo"
        install = "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
        lab.run("n2", f"apt-get update -q && {install} {names} 2>&1", timeout=300)
        lab.packets(reset=True)
        yield made


def references(site: Site) -> dict[str, tuple[str, str]]:
    return {
        "ctr": (f"{PAUSE}:3.10.2", site.pinned(PAUSE)),
        "podman": (f"{PODMANS}:v0.15.2", site.pinned(PODMANS)),
    }


def pulls(site: Site) -> list[str]:
    return [why for by, some in references(site).items() for why in site.pull(*some, by=by)]


def test_with_users_declared_the_hosts_pull_as_before(site: Site) -> None:
    assert pulls(site) == []
    assert site.lab.run("n2", ANONYMOUS) == "200"
    assert json.loads(site.lab.run("n2", f"cat {PATH}")) == OTHERS, "nothing of ours where nobody asks"
    site.declare(CLOSED)
    planned = site.office.run("plan", *site.office.release)
    done = site.office.apply()
    assert site.lab.run("n2", ANONYMOUS) == "401"
    assert pulls(site) == []
    # By the registry's own name, as skopeo and whoever else reads root's logins.
    own = f"registry.lab.example:5000/{PAUSE}"
    site.lab.run("n2", f"skopeo inspect docker://{own}:3.10.2")
    assert site.pull(f"{own}:3.10.2", by="ctr") == []
    assert site.lab.run("n2", "podman login --get-login registry.lab.example:5000") == HOSTS
    assert site.office.run("health").code == 0
    assert site.lab.packets() == LEAVES_NOTHING
    # Where it is seen: in files of root's, and nowhere else.
    password = site.password()
    basic = base64.b64encode(f"{HOSTS}:{password}".encode()).decode()
    for said in (planned, done):
        assert not any(secret in said.out + said.err for secret in (password, basic))
    journal = site.office.journal_file.read_text()
    assert password not in journal
    assert basic not in journal
    found = site.lab.run("n2", f"grep -rlE -e '{password}|{basic}' /etc /root /var/lib /run /tmp | sort").splitlines()
    assert PATH in found
    assert all(path == PATH or path.startswith(f"{CERTS}/") for path in found), found
    assert set(site.lab.run("n2", f"stat -c '%a %U' {' '.join(found)}").splitlines()) == {"600 root"}
    kept = json.loads(site.lab.run("n2", f"cat {PATH}"))
    assert {"auths": {"other.example": kept["auths"]["other.example"]}, "psFormat": kept["psFormat"]} == OTHERS


def test_a_wrong_password_is_refused(site: Site) -> None:
    wrong = base64.b64encode(f"{HOSTS}:wrong".encode()).decode()
    right = base64.b64encode(f"{HOSTS}:{site.password()}".encode()).decode()
    site.lab.run("n2", f"sed -i 's#{right}#{wrong}#' {PATH} {CERTS}/*/hosts.toml")
    refused = pulls(site)
    assert len(refused) == 4, refused
    assert all("401" in why or "auth" in why for why in refused), refused
    done = site.office.apply()
    assert "on 1 host" in done.out
    assert wrong not in done.out + done.err
    assert pulls(site) == []


def test_another_password_reaches_all_hosts_in_one_run(site: Site) -> None:
    before = site.password()
    site.office.run("site", "secrets", "rotate", SECRET)
    entries = len(site.office.journal())
    done = site.office.apply()
    after = site.password()
    assert after != before
    events = site.office.ended(entries)
    print("\n", *(f"{each['host']} {each['step']} {each['kind']} {each['target']}\n" for each in events))
    assert not any(secret in done.out + done.err for secret in (before, after))
    assert pulls(site) == []
    old = base64.b64encode(f"{HOSTS}:{before}".encode()).decode()
    assert site.lab.run("n2", f"grep -rlE '{old}' /etc /root /var/lib/bundle || :") == ""
    basic = f'header = "Authorization: Basic {old}"'.encode()
    assert site.lab.run("n2", ANONYMOUS.replace("curl", "curl -K -"), stdin=basic) == "401"
    assert site.office.run("health").code == 0


def test_without_users_nothing_of_it_is_left(site: Site) -> None:
    site.declare(OPEN)
    planned = site.office.run("plan", *site.office.release)
    done = site.office.apply()
    for said in (planned, done):
        assert "Basic" not in said.out + said.err
    assert site.lab.run("n2", ANONYMOUS) == "200"
    assert json.loads(site.lab.run("n2", f"cat {PATH}")) == OTHERS
    assert site.lab.run("n2", f"grep -rl Authorization {CERTS} || :") == ""
    assert set(site.lab.run("n2", f"stat -c %a {CERTS}/*/hosts.toml").splitlines()) == {"644"}
    assert pulls(site) == []
    # And nothing when the component goes while there are users.
    site.declare(CLOSED)
    site.office.apply()
    site.office.run("uninstall", "base", "--yes")
    assert json.loads(site.lab.run("n2", f"cat {PATH}")) == OTHERS
    assert site.lab.run("n2", f"ls {CERTS}/*/hosts.toml 2>/dev/null || :") == ""
