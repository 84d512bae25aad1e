from django.urls import path

from invoices.views import serve_file, take_tracking

urlpatterns = [
    path("mailgun/tracking", take_tracking, name="mailgun-tracking"),
    path("files/<str:token>/<str:file_name>", serve_file, name="invoice-file"),
]
