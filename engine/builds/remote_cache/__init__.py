"""The build cache in registries, images and directories: asked before a step is done, filled while
the build still runs.
"""
