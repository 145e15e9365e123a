"""`bundle catalog`, `bundle catalog show`, `bundle catalog schema`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.options import json_option, manifests_option, names_of

if TYPE_CHECKING:
    from bundler.model.component import Content, FileRequest
    from bundler.workflows.catalog import ShownComponent, ShownProfile


# What else a tool is run for, besides proving that nothing is missing.
_RUN = {"kubeadm": "; the images that it lists are carried", "helm": "; it renders the charts"}


@click.group(invoke_without_command=True)
@manifests_option
@json_option
@click.pass_context
def catalog(ctx: click.Context, manifests: tuple[Path, ...], as_json: bool) -> None:
    """List components and profiles; explain one of them.

    Reads manifests only, never the network.

    \b
    Example:
      bundle catalog
      bundle catalog show kubernetes@1.36
      bundle catalog --manifests ours --json | jq '.components[].name'
    """
    if ctx.invoked_subcommand:
        ctx.obj = manifests
        return
    from bundler.catalog.manifests import Manifests
    from bundler.workflows.catalog import catalog as run

    found = run(Manifests.of(manifests))
    components = [(each.name, [version for version, _ in each.versions], each.about) for each in found.components]
    profiles = [(each.name, list(map(str, each.components)), each.about) for each in found.profiles]
    if as_json:
        facts = {
            "components": [{"name": name, "versions": has, "about": about} for name, has, about in components],
            "profiles": [{"name": name, "components": has, "about": about} for name, has, about in profiles],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    rows = [(name, ", ".join(has) or "-", about) for name, has, about in components]
    _table(("COMPONENT", "VERSIONS", "ABOUT"), rows)
    click.echo()
    _table(("PROFILE", "COMPONENTS", "ABOUT"), [(name, str(len(has)), about) for name, has, about in profiles])


@catalog.command()
@click.argument("name", shell_complete=names_of("components", "profiles"))
@manifests_option
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, manifests: tuple[Path, ...], as_json: bool) -> None:
    """Explain a component, one of its versions, or a profile.

    NAME is a component (with @VERSION for everything that this version needs), a profile, or a profile's file. Of a
    component: what it needs by kind, images that no chart shows, licences, and the source of each fact. Of a profile:
    what it chooses, and which licences must be accepted.

    \b
    Example:
      bundle catalog show metallb
      bundle catalog show triton@23.05 --json
      bundle catalog show default
    """
    from bundler.catalog.manifests import Manifests
    from bundler.workflows.catalog import ShownProfile
    from bundler.workflows.catalog import show as run

    shown = run(name, Manifests.of((*manifests, *(ctx.obj or ()))))
    if isinstance(shown, ShownProfile):
        _show_profile(shown, as_json=as_json)
    else:
        _show_component(shown, as_json=as_json)


@catalog.command()
@click.argument("kind", type=click.Choice(["component", "profile"]))
def schema(kind: str) -> None:
    """Print the JSON schema of manifests, for editors.

    \b
    Example:
      bundle catalog schema component > component.json
      # yaml-language-server: $schema=component.json    (the first line of a manifest)
    """
    from bundler.catalog.schema import write_schema

    click.echo(write_schema(kind), nl=False)


def _show_component(shown: "ShownComponent", *, as_json: bool) -> None:
    component = shown.component
    if as_json:
        facts = {
            "component": component.name,
            "version": component.version,
            "about": component.about,
            "path": shown.path,
            "chosen_by": [{"profile": profile, "version": version} for profile, version in shown.chosen_by],
            **_facts(component.content),
            "versions": {version: _facts(content) for version, content in component.versions},
        }
        click.echo(json.dumps(facts, indent=2))
        return
    at = f"@{component.version}" if component.version else ""
    click.echo(f"{component.name}{at}  {component.about}")
    click.echo(f"from       {shown.path}")
    if component.versions:
        click.echo(f"versions   {', '.join(version for version, _ in component.versions)}")
    chosen = (f"{profile} ({version})" if version else profile for profile, version in shown.chosen_by)
    click.echo(f"chosen by  {', '.join(chosen) or 'no profile'}")
    for title, content in (("", component.content), *component.versions):
        lines = list(_lines(content))
        if lines and (title or component.versions):
            click.echo(f"\n{component.name}@{title}" if title else "\nall versions")
        for line in lines:
            click.echo(f"  {line}")


def _show_profile(shown: "ShownProfile", *, as_json: bool) -> None:
    profile, components = shown.declared.profile, shown.declared.components
    if as_json:
        facts = {
            "profile": profile.name,
            "about": profile.about,
            "path": shown.path,
            "release": {"line": profile.release.line, "number": profile.release.number},
            "platforms": list(map(str, profile.platforms)),
            "packages": [target.name for target in profile.packages],
            "python": list(profile.python),
            "kernels": list(profile.kernels),
            "components": [
                {"component": each.name, "version": each.version, **_facts(each.content)} for each in components
            ],
            "licenses": list(shown.licenses),
            "missing_licenses": list(shown.missing),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{profile.name}  {profile.about}")
    click.echo(f"from       {shown.path}")
    click.echo(f"release    {profile.release}")
    click.echo(f"platforms  {', '.join(map(str, profile.platforms))}")
    for label, values in (
        ("packages", [target.name for target in profile.packages]),
        ("kernels", profile.kernels),
        ("python", profile.python),
    ):
        if values:
            click.echo(f"{label:<11}{', '.join(values)}")
    click.echo()
    rows = [(f"{each.name}@{each.version}".rstrip("@"), *_counts(each.content)) for each in components]
    totals = [sum(int(row[at]) for row in rows) for at in range(1, 6)]
    _table(("COMPONENT", "CHARTS", "IMAGES", "FILES", "PACKAGES", "WHEELS"), [*rows, ("in all", *map(str, totals))])
    click.echo("\nThese are what the manifests name: charts bring images, packages and wheels what they depend upon.")
    if shown.missing:
        click.echo("Licences to accept before a lock can be made, under accept_license in the profile:")
        click.echo(f"  accept_license: [{', '.join((*profile.accepted, *shown.missing))}]")
    elif shown.licenses:
        click.echo(f"licences accepted: {', '.join(shown.licenses)}")


def _counts(content: "Content") -> tuple[str, ...]:
    packages = {name for each in content.packages for name in each.names}
    kinds = (content.charts, content.images, content.files, packages, content.wheels)
    return tuple(str(len(kind)) for kind in kinds)


def _lines(content: "Content") -> Iterator[str]:
    """What a component needs, a line for each thing, and its facts."""
    if content.provides:
        yield f"provides  {', '.join(f'{name} {version}' for name, version in content.provides)}"
    for chart in content.charts:
        terms = _terms(chart.license)
        yield f"chart     {chart.name} {chart.version} from {chart.repository}, as {chart.release}{terms}"
        for variant in chart.variants:
            yield f"          rendered once more with the variant {variant.name}"
    for image in content.images:
        source = f" from {image.source}" if image.source else ""
        referrers = ", with signatures and attestations" if image.referrers else ""
        yield f"image     {image.reference}{source}{referrers}{_terms(image.license)}"
    for file in content.files:
        yield f"file      {file.name}{_terms(file.license)}"
        yield f"          {file.url}"
        yield f"          {_proof(file)}"
    for each in content.packages:
        roles = f" on hosts with {', '.join(each.roles)}" if each.roles else ""
        releases = f" in {', '.join(each.releases)}" if each.releases else ""
        yield f"packages  {' '.join(each.names)}{roles}{releases}"
    for requirement in content.wheels:
        yield f"wheel     {requirement}"
    for name, tool in content.tools:
        member = f", {tool.member} in it" if tool.member else ""
        yield f"tool      {name} is {tool.file}{member}{_RUN.get(name, '')}"
    for silence in content.silences:
        yield f"silence   {silence.image}: {silence.reason}"
    for fact in content.facts:
        yield f"fact      {fact.text}"
        yield f"          source: {fact.source}"


def _proof(file: "FileRequest") -> str:
    """By what the bytes are known before the first lock."""
    ways = [str(file.digest)] if file.digest else []
    if file.checksums:
        signed = f", signed by {file.checksums.keyring}" if file.checksums.signature else ""
        ways.append(f"the checksum at {file.checksums.url}{signed}")
    return f"is {' and '.join(ways)}" if ways else "no checksum is published: the first lock pins what it finds"


def _terms(license_name: str) -> str:
    return f", licence {license_name} must be accepted" if license_name else ""


def _facts(content: "Content") -> dict[str, Any]:
    """The content as a manifest writes it, for scripts."""
    from bundler.catalog.licenses import licenses_of

    return {
        "provides": dict(content.provides),
        "charts": [
            {
                "chart": each.name,
                "repository": each.repository,
                "version": each.version,
                "release": each.release,
                "namespace": each.namespace,
                "values": json.loads(each.values),
                "variants": {variant.name: json.loads(variant.values) for variant in each.variants},
                "license": each.license,
            }
            for each in content.charts
        ],
        "images": [
            {
                "reference": str(each.reference),
                "from": each.source,
                "referrers": each.referrers,
                "license": each.license,
            }
            for each in content.images
        ],
        "files": [
            {
                "name": each.name,
                "url": each.url,
                "digest": str(each.digest) if each.digest else None,
                "checksums": each.checksums.url if each.checksums else None,
                "license": each.license,
            }
            for each in content.files
        ],
        "packages": [
            {"names": list(each.names), "roles": list(each.roles), "releases": list(each.releases)}
            for each in content.packages
        ],
        "wheels": list(content.wheels),
        "tools": {name: {"file": tool.file, "member": tool.member} for name, tool in content.tools},
        "silence": [{"image": each.image, "reason": each.reason} for each in content.silences],
        "facts": [{"fact": each.text, "source": each.source} for each in content.facts],
        "licenses": list(licenses_of(content)),
    }


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; the last one is left open."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head) - 1)]
    for row in (head, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join((*cells, row[-1])).rstrip())
