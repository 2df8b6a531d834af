"""What valid files declared when they were last read, kept on disk so that nobody reads them twice.

    columns (recordings without objects) -> file (the index on disk, and when it may be believed)

Only ever a cache: whatever is wrong with it, the documents are read again and nobody is told. Files with a mistake in
them are not in it, so that what is said of them never depends on it.
"""
