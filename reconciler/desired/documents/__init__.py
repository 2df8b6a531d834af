"""From the bytes of a file to validated desired state, or to problems with file, line and column.

The room knows YAML, the JSON Schemas and how to explain a mistake. It walks no folders, opens no files, logs nothing,
and never lets a document through that its schema refuses: a refused file declares nothing at all.

    parse: bytes -> yaml_events (fast) -> schema.gate -> convert -> Desired
                        '- refused -> nodes (slow) -> schema.mistakes -> explain -> Problem
    conflicts: what no two documents may share
"""
