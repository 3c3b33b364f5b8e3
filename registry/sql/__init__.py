"""The databases under the registry's rows: SQLite in files, or PostgreSQL for several replicas.

Statements are written once, in what both understand: ``?`` and ``?1`` for parameters, as SQLite
counts them, ``ON CONFLICT ... DO NOTHING`` and ``DO UPDATE`` with their columns named,
``RETURNING``, ``CASE`` instead of the larger of two, ``COALESCE(SUM(...), 0)``, an alias for every
table made of a query; no ``INSERT OR``, no ``rowid``, no JSON functions, no ``PRAGMA``. ``instr``
is there in both. A true or false is an int in one and a bool in the other: use ``bool()``. Sums of
integers are cast: ``CAST(SUM(size) AS BIGINT)``. Tables are declared in SQLite's types ``INTEGER``
(64 bits), ``TEXT`` (ordered by bytes), ``BLOB``, ``REAL``; what these mean in PostgreSQL is
``registry.sql.postgres.dialect``'s knowledge, as are keys that number themselves and ``WITHOUT
ROWID``. Triggers are written for each.

``connection`` is what a statement is run on, ``stores`` opens a room's own small database, and
``registry.database`` is the index's.
"""
