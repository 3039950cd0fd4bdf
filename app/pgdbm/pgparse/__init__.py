"""The SQL parser (libpg_query through postgast), and what is derived from its parse trees. Pure.

The only package that imports postgast.
"""
