"""A storage in a folder of files, ``shelf:///folder``, and the tools ``files.*``.

The tools are imported from `sequential_shelf.tools`; all else is found through the entry point.
"""
