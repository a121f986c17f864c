"""The ``mil`` command."""
