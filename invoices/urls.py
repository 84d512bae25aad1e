from django.urls import path

from invoices.views import take_tracking

urlpatterns = [path("mailgun/tracking", take_tracking, name="mailgun-tracking")]
