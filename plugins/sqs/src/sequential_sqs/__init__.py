"""Resume messages over SQS, ``sqs://queue-name``, and the handler for AWS Lambda.

The transport is found through the entry point; the handler is `sequential_sqs.aws_lambda`.
"""
