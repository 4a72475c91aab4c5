"""The files of a run, as its code uses them from any process of the cluster."""

from kodosumi_prefect.run_files.file_system import (
    AsyncFileStream,
    AsyncFileSystem,
    FileStream,
    FileSystem,
)

__all__ = ["AsyncFileStream", "AsyncFileSystem", "FileStream", "FileSystem"]
