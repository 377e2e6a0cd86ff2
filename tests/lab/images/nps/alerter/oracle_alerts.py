"""The alerter: `python -m oracle_alerts`. Looks at the oracle's metrics and tells Telegram when they go and come."""

import signal
import sys
import time
import urllib.request

import telegram
from app import settings

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
URL = settings.read("ORACLE_METRICS_URL", "http://oracle-service:9090/metrics")
CHAT = settings.first("NPS_ADMIN_CHAT_ID", "NPS_CHAT_ID", default="")
EVERY = float(settings.read("ALERT_SECONDS", "5"))


def up() -> bool:
    try:
        with urllib.request.urlopen(URL, timeout=3) as answer:
            return b"oracle_healthy 1" in answer.read()
    except OSError:
        return False


was = True
print(f"alerter {settings.RELEASE} watches {URL}", flush=True)
while True:
    now = up()
    if now != was:
        try:
            telegram.say(CHAT, f"oracle is {'up' if now else 'DOWN'} ({settings.RELEASE} {settings.SLOT} {settings.HOSTNAME})")
            was = now
        except OSError as error:  # said again the next time
            print(error, file=sys.stderr, flush=True)
    time.sleep(EVERY)
