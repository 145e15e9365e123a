"""`bundle`: the command line. Everything is imported only when its command runs."""

import importlib
import os
import sys

import click

import bundler
from bundler.errors import BundleError

# name: (module, one line for the overview). The overview needs no import of a command's module.
_COMMANDS = {
    "keys": ("bundler.cli.signing", "Make the keys that sign bundles; replace and revoke them."),
    "catalog": ("bundler.cli.catalog", "List components and profiles; explain one of them."),
    "lock": ("bundler.cli.build", "Resolve a profile to a lock: every blob by digest and size."),
    "check": ("bundler.cli.check", "Prove that a lock or a bundle comes up short of nothing."),
    "diff": ("bundler.cli.check", "Show what differs between two locks or bundles."),
    "create": ("bundler.cli.build", "Fetch everything a lock names into one signed file."),
    "squash": ("bundler.cli.squash", "Make one delta of a chain of deltas, without the network."),
    "statement": ("bundler.cli.signing", "Print the exact bytes that a signature covers."),
    "sign": ("bundler.cli.signing", "Add a signature beside a bundle."),
    "verify": ("bundler.cli.look", "Prove every byte of a bundle."),
    "copy": ("bundler.cli.volumes", "Copy a bundle to a medium, and read it back from there."),
    "inspect": ("bundler.cli.look", "List what a bundle holds."),
    "extract": ("bundler.cli.look", "Take one artifact out of a bundle."),
    "site": ("bundler.cli.sitefile", "Write and check site.yaml: the hosts and networks of a site."),
    "plan": ("bundler.cli.deploy", "Show what would be done to the site's hosts, and why."),
    "apply": ("bundler.cli.deploy", "Bring the site's hosts to what site.yaml and the release say."),
    "install": ("bundler.cli.site", "Fill a site's store from a bundle and switch to it."),
    "status": ("bundler.cli.operate", "Show what runs on the site's hosts: versions, health, drift."),
    "health": ("bundler.cli.operate", "Say whether everything is well, by an exit code too."),
    "restart": ("bundler.cli.operate", "Restart a component's services, host by host."),
    "uninstall": ("bundler.cli.operate", "Take a component away; its data stays."),
    "restore": ("bundler.cli.restore", "Bring a component's data back from a snapshot."),
    "logs": ("bundler.cli.operate", "Show the journals of a component's services."),
    "support-bundle": ("bundler.cli.support", "Gather what support needs into one file, without secrets."),
    "watch": ("bundler.cli.watch", "Mend this site host when something on it fails."),
    "releases": ("bundler.cli.generations", "List the releases that a site keeps."),
    "rollback": ("bundler.cli.generations", "Return to the release before."),
    "pin": ("bundler.cli.generations", "Keep a release, however old it gets."),
    "gc": ("bundler.cli.generations", "Give back the disk that old releases take."),
    "scrub": ("bundler.cli.scrub", "Prove a site's store, and mend what is damaged."),
    "history": ("bundler.cli.generations", "Show what happened on a site, and why."),
    "trust": ("bundler.cli.trust", "Show whom a site trusts; take over a rotation or revocation."),
    "receipt": ("bundler.cli.receipt", "Write down what a site holds, for the delta that is made for it."),
    "serve": ("bundler.cli.site", "Serve an installed site: PyPI, apt, images, charts, files."),
    "push": ("bundler.cli.push", "Push a bundle to a registry that the site has already."),
    "completion": ("bundler.cli.completion", "Print the completion script of a shell."),
}
_RESUMED = ("create", "squash", "copy", "install", "push", "apply", "uninstall", "restore", "gc")
# What only programs run: in no overview.
_PLUMBING = {"receive": "bundler.cli.site"}


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS[cmd_name][0] if cmd_name in _COMMANDS else _PLUMBING.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`bundle COMMAND --help` explains a command, with an example. Where Ruby's bundle comes first on the PATH, "
    "`python -m bundler` is the same.",
)
@click.version_option(bundler.__version__, prog_name="bundle", message="%(prog)s %(version)s")
def cli() -> None:
    """Carry a whole platform across an air gap.

    \b
    On the connected side:    bundle lock -> bundle create -> a disk
    On the isolated side:     bundle verify -> bundle install -> bundle serve
    """


def main(arguments: list[str] | None = None) -> int:
    """Run a command and turn whatever ends it into an exit code; nothing below prints an error."""
    stdout = sys.stdout
    try:
        ended = cli.main(args=arguments, prog_name="bundle", standalone_mode=False)
    except BundleError as error:
        _explain(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        started = (sys.argv[1:] if arguments is None else arguments)[:1]
        resumed = bool(started) and started[0] in _RESUMED
        click.echo(f"interrupted{'; the same command goes on where it stopped' if resumed else ''}", err=True)
        return 130
    except SystemExit as error:
        # The end of a completion; or the reader of our output has gone, as `| head` does: click changes stdout then.
        return int(error.code or 0) if sys.stdout is stdout else 141
    except OSError as error:
        click.echo(f"error: the system refused: {error}", err=True)
        return 52
    except Exception as error:
        if os.environ.get("BUNDLE_DEBUG"):
            raise
        kind = type(error).__name__
        click.echo(f"error: a fault of the tool itself: {kind}: {error}", err=True)
        click.echo("  what to do: run it again with BUNDLE_DEBUG=1 and report what it prints", err=True)
        return 1
    return ended if isinstance(ended, int) else 0  # the code of click's Exit; commands give back nothing


def _explain(error: BundleError) -> None:
    click.echo(f"{click.style('error', fg='red', bold=True)} [{type(error).__name__}]: {error.summary}", err=True)
    for line in error.detail.splitlines():
        click.echo(f"  {line}", err=True)
    if error.hint:
        click.echo(f"  what to do: {error.hint}", err=True)
