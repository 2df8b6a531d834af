"""A mirror of a Git branch, judged and read by commits: hostile input that may choose nothing."""
