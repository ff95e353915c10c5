"""The workers that are struck: Stoker's with the tests' fake model, a mutant of it, a plain one."""
