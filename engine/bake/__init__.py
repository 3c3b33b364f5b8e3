"""Bake files to targets: HCL, JSON and compose are read, evaluated and resolved.

Pure but for the readers of files: text, variables and a clock come in as parameters, values go out.
What is done with the targets is ``engine.baking``'s.
"""
