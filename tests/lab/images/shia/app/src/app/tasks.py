from app.tasks import *  # noqa: F403
from app.tasks import app
