"""Private servers and processes for the tests: started when first asked for, ended with the session."""
