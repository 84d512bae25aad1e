"""The old service's invoices with their lines and PDFs as an archive that can be checked against its database."""
