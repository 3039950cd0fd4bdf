"""``python -m pgdbm_service``: the service on uvicorn, with what a person needs to know to begin.

``python -m pgdbm_service token …`` is ``pgdbm token …``, for where the command line is not installed; ``deploy``,
``runs`` and ``wait`` the same.

Exit codes: 0 told to stop, 1 the port is taken, 2 a setting is not usable.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from .settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from .asgi import Service

_PORT_TAKEN = 1
_BAD_SETTING = 2
_KEEP_ALIVE_S = 65
_DATABASE_PATIENCE_S = 10.0
_LEAVE_TIME_S = 10
_COMMANDS = ("deploy", "runs", "token", "wait")


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in _COMMANDS:
        sys.exit(_command(sys.argv[1:]))
    if sys.argv[1:]:
        there = ", ".join(_COMMANDS)
        _exit_with(f"{sys.argv[1]!r} is no command: there is {there}. Settings are variables.", _BAD_SETTING)
    # In a container this is process 1, which SIGTERM does not end unless somebody handles it.
    signal.signal(signal.SIGTERM, _leave)
    # A start makes what stays. To look for garbage in it, again and again, is a tenth of the start.
    gc.disable()
    try:
        settings = read_settings()
        listener = _listen(settings)
        from .asgi import create_app

        _serve(create_app(settings), settings, listener)
    except SettingsError as error:
        _exit_with(str(error), _BAD_SETTING)
    except KeyboardInterrupt:
        sys.exit(0)


def _command(arguments: list[str]) -> int:
    # Litestar brings click, so this needs no extra.
    from pgdbm.cli.app import root, run

    from .commands.deploy import deploy
    from .commands.runs import runs
    from .commands.wait import wait
    from .token_commands import token

    direct_url = os.environ.get("PGDBM_DIRECT_URL")
    if direct_url:
        # The command line knows nothing of the service's poolers.
        os.environ["DATABASE_URL"] = direct_url
    for command in (deploy, runs, token, wait):
        root.add_command(command)
    return run(arguments)


def _serve(app: Service, settings: Settings, listener: socket.socket) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                app.state.banner = asyncio.create_task(_greet(app, settings, listener.getsockname()[1]))

    config = uvicorn.Config(
        app,
        access_log=False,
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        # A backstop: migrations are cut off after the grace period, and then the requests end by themselves.
        timeout_graceful_shutdown=int(settings.shutdown_grace_s) + _LEAVE_TIME_S,
    )
    server: Any = Server(config)
    # From here on the collector leaves out what is there: to go through it takes 60 ms, and requests would wait.
    gc.collect()
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
        # Now, not only when the application is ready: of two that start at once, one learns of it here.
        listener.listen()
    except OSError as error:
        listener.close()
        _exit_with(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            f"Choose another port with PGDBM_PORT.",
            _PORT_TAKEN,
        )
    return listener


async def _greet(app: Service, settings: Settings, port: int) -> None:
    ready = True
    try:
        async with asyncio.timeout(_DATABASE_PATIENCE_S):
            await app.state.database.connected.wait()
    except TimeoutError:
        ready = False
    example = next((module.name for module in app.state.registry if module.problem is None), "orders")
    if app.state.registry.find("orders"):
        example = "orders"
    print(_banner(settings, port, example, ready=ready), flush=True)  # noqa: T201 - for whoever started it


def _banner(settings: Settings, port: int, module: str, *, ready: bool) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if settings.database_url is None:
        where = f"an embedded PostgreSQL, its data in {os.path.relpath(settings.data_dir)}"
    else:
        from pgdbm.core.dsn import mask

        where = mask(settings.database_url)
    curl = "curl -s"
    if settings.auth != "none":
        curl = 'curl -s -H "Authorization: Bearer $TOKEN"'
    lines = [
        "",
        f"  pgdbm serves {address}   (docs: {address}/docs)",
        f"  database: {where}{'' if ready else '   (not reachable yet: still trying)'}",
        f"  migrations: {settings.migrations_repo}",
        "",
        "  Try:",
        f"    {curl} {address}/modules",
        f"    {curl} -X POST {address}/migrate",
        f"    {curl} {address}/modules/{module}/history",
        "",
    ]
    return "\n".join(lines)


def _leave(_: int, __: Any) -> NoReturn:
    sys.exit(0)


def _exit_with(message: str, code: int) -> NoReturn:
    print(f"pgdbm_service: {message}", file=sys.stderr)  # noqa: T201 - before logs are set up, and one line
    sys.exit(code)


if __name__ == "__main__":
    main()
