"""The names under which the guide's commands know the application: `celery -A src.app.tasks`, `uvicorn src.app.main:app`."""
