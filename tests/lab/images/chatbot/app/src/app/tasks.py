"""The worker: `celery -A src.app.tasks worker`."""

import asyncio

import asyncpg
from celery import Celery

from . import settings

app = Celery("chatbot", broker=settings.REDIS_URL)
# Acknowledged when done: a worker that dies leaves its task for the next one.
app.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="chatbot.answer")
def answer(message_id: int) -> None:
    asyncio.run(_answer(message_id))


async def _answer(message_id: int) -> None:
    db = await asyncpg.connect(settings.ASYNCPG_URL)
    try:
        await db.execute("UPDATE messages SET answered_at = now(), answered_by = $2 WHERE id = $1", message_id, settings.RELEASE)
    finally:
        await db.close()
