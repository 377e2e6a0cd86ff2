"""The chat API."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from . import behaviour, metrics, settings, tasks

IDENTITY = {
    "release": settings.RELEASE or behaviour.VERSION,
    "slot": settings.SLOT,
    "hostname": settings.HOSTNAME,
}


@asynccontextmanager
async def lifespan(app: FastAPI):
    # No connection yet: the app starts, and says that it is degraded, also where the database is down.
    app.state.db = await asyncpg.create_pool(settings.ASYNCPG_URL, min_size=0, max_size=settings.POOL_SIZE, command_timeout=10)
    app.state.redis = redis.asyncio.from_url(settings.REDIS_URL)
    behaviour.on_start()
    yield
    await app.state.redis.aclose()
    await app.state.db.close()


app = FastAPI(title="chatbot", version=behaviour.VERSION, lifespan=lifespan)
app.add_middleware(metrics.Middleware)


class Message(BaseModel):
    message: str = Field(min_length=1, max_length=10_000)
    client_ref: str | None = None
    delay_ms: int = Field(default=0, ge=0, le=60_000)


async def _check(call) -> str:
    try:
        # Long enough for a first connection on a machine that has much to do: what is slow is not gone.
        await asyncio.wait_for(call, timeout=8)
    except Exception as error:  # whatever the driver raises, the service is not there
        return f"{type(error).__name__}: {error}"
    return "ok"


@app.get("/health")
async def health(response: Response):
    database, cache = await asyncio.gather(_check(app.state.db.fetchval("SELECT 1")), _check(app.state.redis.ping()))
    checks = {"database": database, "redis": cache, "self": behaviour.ailment() or "ok"}
    healthy = all(check == "ok" for check in checks.values())
    response.status_code = 200 if healthy else 503
    return {"status": "healthy" if healthy else "degraded", **IDENTITY, "checks": checks}


@app.get("/version")
async def version():
    return {"version": behaviour.VERSION, **IDENTITY}


@app.post("/api/v1/chat")
async def chat(message: Message):
    async with app.state.db.acquire() as db:
        stored = await behaviour.insert(db, message, IDENTITY)
    # For tests of draining: a request that is under way while the switch happens.
    await asyncio.sleep(message.delay_ms / 1000)
    await asyncio.to_thread(tasks.answer.delay, stored["id"])
    return {**stored, "reply": f"You said: {message.message}", "client_ref": message.client_ref, **IDENTITY}


@app.get("/api/v1/chat/{message_id}")
async def answer(message_id: int):
    row = await app.state.db.fetchrow("SELECT * FROM messages WHERE id = $1", message_id)
    if row is None:
        raise HTTPException(404)
    return dict(row)


@app.get("/metrics", response_class=PlainTextResponse)
async def show_metrics():
    return metrics.render(app.state.db.get_size() - app.state.db.get_idle_size())
