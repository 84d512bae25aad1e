"""The web process's entry point. A bad environment is a list on stderr, and gunicorn stops instead of trying again."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from billing_worker.env import exit_if_unusable

#: gunicorn's code for "the application can't be loaded": it gives up rather than start workers again and again.
GUNICORN_APP_LOAD_ERROR = 4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_worker.settings")
exit_if_unusable(GUNICORN_APP_LOAD_ERROR)
application = get_wsgi_application()
# Now, and not at the first request: the addresses and the console behind them.
import_module(settings.ROOT_URLCONF)
# What is loaded stays: the collector need not walk it again and again while a batch of usage is taken in.
gc.collect()
gc.freeze()
