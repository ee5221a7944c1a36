"""A storage in Postgres, ``postgresql://user@host/database``; found through its entry point.

Importing this package imports no driver.
"""
