"""``python -m pgdbm_service``: the service on uvicorn, with a banner that shows the first commands to try.

With arguments it is the command ``pgdbm``, so that ``docker run IMAGE deploy …`` works, and so does ``docker run IMAGE
pgdbm deploy …``, and ``python -m pgdbm_service token …`` in an installation without the command line.

Exit codes: 0: stopped by a signal; 1: the port is in use; 2: a setting is invalid.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from .settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from .asgi import Service

_PORT_IN_USE = 1
_INVALID_SETTING = 2
_KEEP_ALIVE_S = 65
_BANNER_WAIT_S = 10.0
_AFTER_GRACE_S = 10


def main() -> None:
    if sys.argv[1:]:
        sys.exit(_command(sys.argv[2:] if sys.argv[1] == "pgdbm" else sys.argv[1:]))
    # A fault in a C extension would otherwise end the process without a message.
    faulthandler.enable()
    # In a container this is process 1, which SIGTERM does not stop unless there is a handler.
    signal.signal(signal.SIGTERM, _exit_on_signal)
    # Objects created during startup are not garbage; scanning them repeatedly would take a tenth of the startup time.
    gc.disable()
    try:
        settings = read_settings()
        listener = _listen(settings)
        from .asgi import create_app

        _serve(create_app(settings), settings, listener)
    except SettingsError as error:
        _exit_with(str(error), _INVALID_SETTING)
    except KeyboardInterrupt:
        sys.exit(0)


def _command(arguments: list[str]) -> int:
    # Litestar depends on click, so this needs no extra.
    from pgdbm.cli.app import root, run

    from .commands import approvals, modules, operating
    from .commands.backfills import backfill
    from .commands.deploy import deploy
    from .commands.freezes import freeze
    from .commands.runs import runs
    from .commands.tokens import token
    from .commands.wait import wait
    from .commands.webhooks import webhook

    direct_url = os.environ.get("PGDBM_DIRECT_URL")
    if direct_url:
        # The command line has no setting for a pooler.
        os.environ["DATABASE_URL"] = direct_url
    for command in (
        *(backfill, deploy, freeze, runs, token, wait, webhook),
        *modules.COMMANDS,
        *operating.COMMANDS,
        *approvals.COMMANDS,
    ):
        root.add_command(command)
    return run(arguments)


def _serve(app: Service, settings: Settings, listener: socket.socket) -> None:
    import structlog
    import uvicorn

    from pgdbm.version import __version__

    from .web.server_protocol import protocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.started:
                return
            host, port = listener.getsockname()[:2]
            if settings.log_format == "json":
                # A program that reads the log expects every line to be JSON, so there is no banner.
                structlog.get_logger("pgdbm_service").info("listening", host=host, port=port, version=__version__)
            else:
                app.state.banner = asyncio.create_task(_print_banner(app, settings, port))

    config = uvicorn.Config(
        app,
        access_log=False,
        http=protocol(settings.request_timeout_s),
        ws="none",
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        # Only a backstop: migrations are cancelled after the grace period, which ends their requests.
        timeout_graceful_shutdown=int(settings.shutdown_grace_s) + _AFTER_GRACE_S,
    )
    server: Any = Server(config)
    # Exclude existing objects from garbage collections: scanning them takes 60 ms, for which requests would wait. They
    # are not scanned once before, either: 1 % of them are garbage.
    gc.freeze()
    gc.enable()
    try:
        server.run(sockets=[listener])
    except SystemExit:
        reason = app.state.get("start_error")
        if reason is None:
            raise
        raise SettingsError(reason) from None
    finally:
        listener.close()


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"PGDBM_HOST is {settings.host!r}: {error.strerror}.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Bound now, before the application is ready: if two processes are started together, one of them fails here.
        listener.listen()
    except OSError as error:
        listener.close()
        _exit_with(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            f"Choose another port with PGDBM_PORT.",
            _PORT_IN_USE,
        )
    return listener


async def _print_banner(app: Service, settings: Settings, port: int) -> None:
    ready = True
    try:
        async with asyncio.timeout(_BANNER_WAIT_S):
            await app.state.database.connected.wait()
    except TimeoutError:
        ready = False
    example = next((module.name for module in app.state.registry if module.problem is None), "orders")
    if app.state.registry.find("orders"):
        example = "orders"
    print(_banner(settings, port, example, ready=ready), flush=True)  # noqa: T201 - for the terminal


def _banner(settings: Settings, port: int, module: str, *, ready: bool) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if settings.database_url is None:
        where = f"an embedded PostgreSQL, its data in {os.path.relpath(settings.data_dir)}"
    else:
        from pgdbm.dsn import mask

        where = mask(settings.database_url)
    curl = "curl -s"
    if settings.auth != "none":
        curl = 'curl -s -H "Authorization: Bearer $TOKEN"'
    lines = [
        "",
        f"  pgdbm serves {address}   (docs: {address}/docs)",
        f"  database: {where}{'' if ready else '   (not reachable yet, still trying)'}",
        f"  migrations: {settings.migrations_repo}",
        "",
        "  Try:",
        f"    {curl} {address}/modules",
        f"    {curl} --fail-with-body -X POST '{address}/migrate?require_done=true'",
        f"    {curl} {address}/modules/{module}/history",
        "",
    ]
    return "\n".join(lines)


def _exit_on_signal(_: int, __: object) -> NoReturn:
    sys.exit(0)


def _exit_with(message: str, code: int) -> NoReturn:
    print(f"pgdbm_service: {message}", file=sys.stderr)  # noqa: T201 - before logs are set up, and one line
    sys.exit(code)


if __name__ == "__main__":
    main()
