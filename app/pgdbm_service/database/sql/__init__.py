"""The service's statements, a file for each owner of tables; ``{{tables.…}}`` is left to the manager that runs them."""

from pgdbm.sql import statements_of

statement = statements_of(__spec__)
