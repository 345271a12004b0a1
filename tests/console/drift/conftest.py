"""The fixtures of drift_mail.py for every test of this folder."""

from drift_mail import mail, stored_mail

__all__ = ["mail", "stored_mail"]
