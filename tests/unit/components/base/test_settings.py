"""What site.yaml may say of base: the parser and the schema agree."""

import jsonschema
import pytest
import yaml

from bundler.components.base.settings import SCHEMA, BaseSettings, parse_settings
from bundler.errors import InvalidDocument
from bundler.model.document import Reader


def parse(text: str) -> BaseSettings:
    reader = Reader(file="site.yaml")
    settings = reader.yaml(text).whole(parse_settings)
    reader.finish()
    return settings


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("{}", BaseSettings()),
        ("time: {}", BaseSettings()),
        (
            "time: {sources: [10.0.0.1, 'fd77::1', ntp.corp.example]}",
            BaseSettings(sources=("10.0.0.1", "fd77::1", "ntp.corp.example")),
        ),
        (
            "sysctls: {vm.swappiness: 1, net.ipv4.tcp_rmem: 4096 131072 8388608, kernel.panic: leave}",
            BaseSettings(
                sysctls=(
                    ("kernel.panic", "leave"),
                    ("net.ipv4.tcp_rmem", "4096 131072 8388608"),
                    ("vm.swappiness", "1"),
                )
            ),
        ),
    ],
)
def test_good(text: str, settings: BaseSettings) -> None:
    assert parse(text) == settings
    jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clock: {}", "unknown key"),
        ("time: {sources: [10.0.0.256]}", "10.0.0.256"),
        ("time: {sources: ['a b']}", "'a b'"),
        ('time: {sources: ["x\'; reboot"]}', "reboot"),
        ("sysctls: {swappiness: 1}", "'swappiness'"),
        ("sysctls: {../x.y: 1}", "'../x.y'"),
        ("sysctls: {vm.swappiness: \"1'; reboot; '\"}", "reboot"),
        ("sysctls: {vm.swappiness: [1]}", "a list"),
    ],
)
def test_bad(text: str, found: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse(text)
    assert found in " ".join(problem.found for problem in caught.value.problems)
