"""What an error code means, and its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """What all errors with a ``code`` have in common.

    ``extra`` names the fields of the problem document besides those of RFC 9457, separated by spaces.
    ``retry_after_s`` is None unless a retry of the same request may succeed.
    """

    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    extra: str = ""
    retry_after_s: int | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.extra.split())

    @property
    def type(self) -> str:
        """The path of the page, which the service serves."""
        return f"/errors/{self.code}"

    def page(self) -> str:
        """The page, as Markdown."""
        lines = [f"# {self.code}", "", f"{self.title}. HTTP status {self.status}."]
        lines += ["", "## What happened", "", self.meaning, "", "## What to do", "", self.remedy]
        if self.retry_after_s is not None:
            lines += ["", "The answer has a `Retry-After` header: the same request may succeed later."]
        if self.fields:
            lines += ["", "## Fields", "", "Besides `type`, `title`, `status`, `detail`, `instance` and `code`:", ""]
            lines += [f"- `{field}`" for field in self.fields]
        return "\n".join(lines) + "\n"
