"""What is particular to documents that are no invoices: how they are laid out, checked, read back and mailed. Pure."""
