"""The build cache as it travels: its format, what goes into it, and how two of them become one."""
