"""Everything below ``/ui``."""

from __future__ import annotations

from .actions import ActionController
from .approvals import DecisionController
from .module_pages import ModulePageController
from .pages import PageController, get_asset
from .sign_in import AccountController, SignInController
from .tokens import TokenPages
from .webhook_pages import WebhookPages

ROUTES = (
    PageController,
    ModulePageController,
    ActionController,
    DecisionController,
    SignInController,
    AccountController,
    TokenPages,
    WebhookPages,
    get_asset,
)
