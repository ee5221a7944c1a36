"""Sequential over HTTP: resume messages, an API for clients, answers by link, calls to services.

Found through its entry point. Importing this package imports no HTTP library.
"""
