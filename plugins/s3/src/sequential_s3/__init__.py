"""The storage in an S3 bucket, ``s3://bucket/prefix``.

Found through the entry point; `sequential_s3.values` keeps large values of another storage in S3.
"""
