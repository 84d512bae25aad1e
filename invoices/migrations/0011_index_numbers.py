"""The console looks documents up by the beginning of their number."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("invoices", "0010_work_through_many_documents")]

    operations = [
        migrations.AddIndex(
            model_name="invoicedocument",
            index=models.Index(fields=["number"], name="document_number"),
        ),
    ]
