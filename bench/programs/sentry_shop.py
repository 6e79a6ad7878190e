"""The demo's shop with sentry-sdk as its manual says, errors only; what it would send goes nowhere."""

from __future__ import annotations

import silent_sentry
from sentry_sdk.integrations.flask import FlaskIntegration

silent_sentry.init(FlaskIntegration())

from shop import app  # noqa: E402, F401
