"""Commands that make what ships: run by hand, needed by nobody at run time."""
