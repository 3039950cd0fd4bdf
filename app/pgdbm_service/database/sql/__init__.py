"""The service's statements, one file per owner of tables; ``{{tables.…}}`` is left to the manager that runs them."""

from pgdbm.sql import statements_of

statement = statements_of(__spec__)
