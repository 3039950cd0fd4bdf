"""Calls that are described once and sent by both clients.

::

    class Calls:
        @call
        def get_module(self, module: str) -> Call[ModuleDetail]: ...

is ``(module: str) -> ModuleDetail`` of a :class:`Sender`, and a coroutine function of an :class:`AsyncSender`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from typing import Self

    from .call import Call, Listing

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")


class Sender(ABC):
    """Sends calls and returns their answers."""

    @abstractmethod
    def send(self, call: Call[T]) -> T: ...

    @abstractmethod
    def each(self, listing: Listing[T]) -> Iterator[T]: ...


class AsyncSender(ABC):
    """The same for asyncio."""

    @abstractmethod
    async def send(self, call: Call[T]) -> T: ...

    @abstractmethod
    def each(self, listing: Listing[T]) -> AsyncIterator[T]: ...


class _Described(Generic[P, D]):
    """``describe`` is a method that returns a call and does not use ``self``."""

    def __init__(self, describe: Callable[Concatenate[Any, P], D]) -> None:
        self._describe = describe
        self.__name__ = describe.__name__
        self.__doc__ = describe.__doc__

    def describe(self, *args: P.args, **kwargs: P.kwargs) -> D:
        """The call, without a client."""
        return self._describe(None, *args, **kwargs)

    def _sent(self, send: Callable[[D], Any]) -> Callable[P, Any]:
        @wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return send(self.describe(*args, **kwargs))

        return method


class CallMethod(_Described[P, "Call[T]"], Generic[P, T]):
    """The descriptor of ``@call``."""

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self._sent(client.send)


class ListingMethod(_Described[P, "Listing[T]"], Generic[P, T]):
    """The descriptor of ``@listing``."""

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self._sent(client.each)


def call(describe: Callable[Concatenate[Any, P], Call[T]]) -> CallMethod[P, T]:
    """A method that sends the call returned by ``describe``, and returns the answer."""
    return CallMethod(describe)


def listing(describe: Callable[Concatenate[Any, P], Listing[T]]) -> ListingMethod[P, T]:
    """A method that iterates over the items of the list returned by ``describe``."""
    return ListingMethod(describe)
