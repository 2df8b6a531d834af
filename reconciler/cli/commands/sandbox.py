"""`reconciler sandbox`: a simulated Bird voice API on loopback."""

from __future__ import annotations

import os

import click

from reconciler.cli.loading import load_or_exit
from reconciler.cli.options import COMMON, DOCUMENTS, given_settings, setting_options
from reconciler.model import ReconcilerError
from reconciler.providers import DEFAULT_KEY, Behaviour, SeedRecording, World, run_sandbox


@click.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=8421, show_default=True, help="0 for any free port.")
@click.option("--seed", "seeds", multiple=True, metavar="PATH", help="Documents whose recordings it holds; repeatable.")
@click.argument("more_seeds", nargs=-1, metavar="[PATH]...")
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, 86_400_000),
    default=0.0,
    show_default=True,
    help="How long each answer takes.",
)
@click.option(
    "--settle-ms",
    type=click.FloatRange(0, 86_400_000),
    default=200.0,
    show_default=True,
    help="How long a PATCH takes to show its effect.",
)
@click.option(
    "--fault-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of requests that fail."
)
@click.option(
    "--rate-limit",
    "sandbox_rate_limit",
    envvar="RECONCILER_SANDBOX_RATE_LIMIT",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Requests per second and workspace before it answers 429; 0 for no limit.",
)
@setting_options(*COMMON, *DOCUMENTS)
@click.pass_context
def command(
    context: click.Context,
    port: int,
    seeds: tuple[str, ...],
    more_seeds: tuple[str, ...],
    latency_ms: float,
    settle_ms: float,
    fault_rate: float,
    sandbox_rate_limit: int,
) -> None:
    """Simulate the Bird voice API on loopback, with the recordings of the documents in --seed PATH...

    Its key is BIRD_ACCESS_KEY, or `sandbox-key` when that is not set. Each recording begins as `ongoing`.
    """
    paths = (*seeds, *more_seeds)
    documents = load_or_exit(context, paths, given_settings()).desired if paths else ()
    behaviour = Behaviour(
        settle_ms=settle_ms, latency_ms=latency_ms, fault_rate=fault_rate, rate_limit=sandbox_rate_limit
    )
    world = World(behaviour)
    world.seed(SeedRecording(document.key) for document in documents)
    key = os.environ.get("BIRD_ACCESS_KEY") or DEFAULT_KEY

    def ready(url: str) -> None:
        click.echo(url)
        click.echo(
            f"{len(documents)} recordings. Use it with: RECONCILER_API_URL={url} BIRD_ACCESS_KEY=..."
            " (sandbox-key unless you set another)",
            err=True,
        )

    try:
        run_sandbox("127.0.0.1", port, world, key, ready=ready)
    except OSError as error:
        raise ReconcilerError(f"cannot listen on port {port}: {error.strerror}; choose another with --port") from error
