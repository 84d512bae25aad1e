"""Django's settings. Nothing here is decided twice: what an operator may change is in `billing_worker.env`."""

from __future__ import annotations

import os

import django_stubs_ext

from billing_worker.env import BASE_DIR, load_environment, make_var_dir
from billing_worker.settings.console import UNFOLD as UNFOLD
from billing_worker.settings.databases import build_databases, build_migration_modules
from billing_worker.settings.delivery import build_anymail, build_email_backend, build_storages
from billing_worker.settings.logs import build_logging
from billing_worker.settings.queue import build_broker
from billing_worker.settings.stripe_api import STRIPE_API_VERSION as STRIPE_API_VERSION
from billing_worker.settings.stripe_api import build_djstripe

ENV = load_environment(os.environ)
make_var_dir(ENV)

DEBUG = ENV.DEBUG
SECRET_KEY = ENV.DJANGO_SECRET_KEY.get_secret_value()
ALLOWED_HOSTS = ENV.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = [ENV.PUBLIC_URL.rstrip("/")]
ROOT_URLCONF = "billing_worker.urls"
WSGI_APPLICATION = "billing_worker.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "billing_worker.console.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "import_export",
    "anymail",
    "storages",
    "django_structlog",
    "djstripe",
    "billing_worker.alerts",
    "billing_worker.accounts",
    "billing_worker.legacy",
    "billing_worker.catalog",
    "billing_worker.webhooks",
    "billing_worker.mirror",
    "billing_worker.customers",
    "metering",
    "invoices",
    "reconciliation",
    "cohorts",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = build_databases(ENV)
DATABASE_ROUTERS = ["billing_worker.legacy.router.LegacyRouter"]
MIGRATION_MODULES = build_migration_modules(ENV)

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = ["billing_worker.settings.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = ENV.VAR_DIR / "static"
STORAGES = build_storages(ENV)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["billing_worker.accounts.authentication.ServiceKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["billing_worker.api.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "billing_worker.api.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "billing-worker",
    "DESCRIPTION": "Usage in, meter events out, and what happened to them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
}

#: Where documents get their usage by day from: invoices and metering do not import each other.
INVOICE_USAGE_DAYS = "metering.selectors.get_daily_units"

EMAIL_BACKEND = build_email_backend(ENV)
EMAIL_FILE_PATH = str(ENV.VAR_DIR / "mail")
DEFAULT_FROM_EMAIL = ENV.BILLING_FROM_ADDRESS
ANYMAIL = build_anymail(ENV)

CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = build_broker(ENV)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

(
    STRIPE_TEST_SECRET_KEY,
    STRIPE_LIVE_SECRET_KEY,
    STRIPE_LIVE_MODE,
    DJSTRIPE_FOREIGN_KEY_TO_FIELD,
) = build_djstripe(ENV)

LOGGING = build_logging(ENV)
DJANGO_STRUCTLOG_CELERY_ENABLED = False

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "SAMEORIGIN"
if ENV.PUBLIC_URL.startswith("https://"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31_536_000
#: 2 MB holds a thousand usage records with room to spare; larger bodies are refused before they are read.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000_000

django_stubs_ext.monkeypatch()
