"""The bot: asks Telegram for messages, one poller at a time (Telegram refuses a second), and answers `/status`."""

import signal
import sys
import time
import urllib.request

import telegram
from app import settings

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
API = settings.read("TELEGRAM_BOT_API_URL", "http://api:8000/api")


def status() -> str:
    try:
        with urllib.request.urlopen(f"{API}/health", timeout=5) as answer:
            return answer.read().decode()
    except OSError as error:
        return f"the API does not answer: {error}"


offset = 0
print(f"bot {settings.RELEASE} polls", flush=True)
while True:
    try:
        for update in telegram.call("getUpdates", timeout=40, offset=offset):
            offset = update["update_id"] + 1
            message = update.get("message", {})
            if message.get("text", "").startswith("/status"):
                telegram.say(message["chat"]["id"], f"{settings.RELEASE}: {status()}")
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
        time.sleep(2)
