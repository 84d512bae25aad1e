"""What a change of the template does to real documents, looked at before it goes live. Nothing is stored as a
document and nothing is mailed."""
