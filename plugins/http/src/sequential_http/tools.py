"""The tools ``http.get``, ``http.post`` …: a flow calls services without code of its own.

They are there once something is allowed: by ``SEQUENTIAL_HTTP_ALLOW``, or by an `HttpTools` of the
application's own among its plugins. What is sent, and what may be, stands in `services`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sequential import Registry, RetryPolicy, ToolContext, hookimpl, tool
from sequential.errors import InputMismatch

from .services import METHODS, Request, Services

ALLOW = "SEQUENTIAL_HTTP_ALLOW"

_ONCE = RetryPolicy(max_attempts=1)


class HttpTools:
    """A plugin that registers a tool of the category ``http`` for each method.

    Args:
        services: What may be called, and how.
        retry: For failed calls; by default a call is made once.

    Example:
        >>> tools = HttpTools(Services(["api.example.com"]))
        >>> app = Sequential("memory:", plugins=[tools])
    """

    def __init__(self, services: Services, retry: RetryPolicy = _ONCE) -> None:
        self._services = services
        self._retry = retry

    @hookimpl
    def sequential_register(self, registry: Registry) -> None:
        """Register the tools.

        Registered rather than answered for by a hook: a hook is asked at every step of every flow,
        and a tool that nobody registered can have no policy.
        """
        for method in METHODS:
            bodiless = method in ("get", "head")
            made = self._reading(method) if bodiless else self._writing(method)
            tool("http", method, retry=self._retry, registry=registry)(made)

    def _reading(self, method: str) -> Callable[..., Any]:
        def ask(
            context: ToolContext,
            url: str,
            params: Mapping[str, str] | None = None,
            headers: Mapping[str, str] | None = None,
            timeout: float | None = None,
        ) -> Any:
            request = Request(url, method, params or {}, headers or {}, timeout=timeout)
            return self._services.call(context, request)

        return ask

    def _writing(self, method: str) -> Callable[..., Any]:
        def tell(  # noqa: PLR0913, PLR0917  (one parameter per part of a request)
            context: ToolContext,
            url: str,
            params: Mapping[str, str] | None = None,
            headers: Mapping[str, str] | None = None,
            json: Any = None,
            text: str | None = None,
            timeout: float | None = None,
        ) -> Any:
            if json is not None and text is not None:
                raise InputMismatch(f"http.{method}", "it has both json and text; send one of them")
            request = Request(url, method, params or {}, headers or {}, json, text, timeout)
            return self._services.call(context, request)

        return tell


def tools_of_environment(environ: Mapping[str, str]) -> HttpTools | None:
    """Return the tools for the hosts of ``SEQUENTIAL_HTTP_ALLOW``, which commas separate.

    Returns:
        None where it is not set.
    """
    allowed = [part.strip() for part in environ.get(ALLOW, "").split(",") if part.strip()]
    return HttpTools(Services(allowed)) if allowed else None
