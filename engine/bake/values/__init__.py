"""Typed values as HCL's expressions have them, and how one type becomes another.

The model is that of go-cty, on which HCL stands: structural types (tuple, object) for what is
written out, collection types (list, set, map) whose elements are of one type, and null in any
type. Unknown values do not exist here: a definition is evaluated once, with everything known.
"""
