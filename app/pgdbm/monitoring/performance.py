"""Timing of coroutines that run several queries."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..core.masking import mask_parameters
from .metrics import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def log_query_performance(
    threshold_ms: float = 100, log_args: bool = False
) -> Callable[[Callable[Parameters, Coroutine[Any, Any, Result]]], Callable[Parameters, Coroutine[Any, Any, Result]]]:
    """``@log_query_performance()`` logs a warning for a call that takes ``threshold_ms`` or more, or fails.

    ``log_args`` adds the arguments, masked.

    Raises:
        TypeError: the decorated function is not a coroutine function.
    """

    def decorate(
        function: Callable[Parameters, Coroutine[Any, Any, Result]],
    ) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
        name = getattr(function, "__qualname__", repr(function))
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"log_query_performance() decorates coroutine functions; {name} is not one.")

        @functools.wraps(function)
        async def measured(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            started = time.perf_counter()
            try:
                result = await function(*args, **kwargs)
            except Exception as error:
                logger.warning(
                    "%s failed after %.1f ms%s: %s",
                    name,
                    _since(started),
                    _shown(args, kwargs) if log_args else "",
                    type(error).__name__,
                )
                raise
            duration_ms = _since(started)
            if duration_ms >= threshold_ms:
                logger.warning(
                    "Slow query detected: %s took %.1f ms (over %g ms)%s",
                    name,
                    duration_ms,
                    threshold_ms,
                    _shown(args, kwargs) if log_args else "",
                )
            return result

        return measured

    return decorate


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    named = dict(zip(kwargs, mask_parameters(kwargs.values()), strict=True))
    return f" with {mask_parameters(args)!r} {named!r}"
