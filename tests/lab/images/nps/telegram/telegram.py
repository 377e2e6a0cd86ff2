"""The few calls of Telegram's Bot API that the bot and the alerter make. TELEGRAM_API names another server than Telegram's."""

import json
import urllib.request

from app import settings

_BASE = settings.read("TELEGRAM_API", "https://api.telegram.org")
_TOKEN = settings.read("NPS_BOT_TOKEN")


def call(method: str, timeout: float = 10, **values):
    """Raises OSError with no token in it: the URL that holds it stays here."""
    request = urllib.request.Request(
        f"{_BASE}/bot{_TOKEN}/{method}", json.dumps(values).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)["result"]
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"{method}: {type(error).__name__} {getattr(error, 'code', '')}".strip()) from None


def say(chat: str, text: str) -> None:
    call("sendMessage", chat_id=chat, text=text)
