"""A stateful stand-in for the part of Stripe that this project uses. See README.md beside this file."""
