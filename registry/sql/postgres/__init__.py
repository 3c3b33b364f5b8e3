"""PostgreSQL behind ``registry.sql``; imported by registries with ``index.type = "postgresql"``.

``dialect`` turns our statements into PostgreSQL's, ``faults`` its errors into ours, ``link`` and
``pool`` are connections, ``database`` is the index, ``changes`` keeps caches true between replicas,
and ``stores`` are the rooms' databases.
"""
