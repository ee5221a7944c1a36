"""A parcel on AWS Lambda: the queue names the run, the bucket keeps it, and code is here."""

from __future__ import annotations

import time

from sequential import Sequential, flow, tool
from sequential_sqs.aws_lambda import lambda_handler


@tool("shop", "pack")
def pack(item: str) -> str:
    time.sleep(0.2)  # as long as a request to the shop would take
    print(f"packing {item}", flush=True)
    return f"{item}, packed"


@tool("shop", "ship")
def ship(parcel: list[str]) -> str:
    return f"shipped: {'; '.join(parcel)}"


@flow
async def send(items: list[str]) -> str:
    parcel = [await pack(item) for item in items]
    return await ship(parcel)


# Called once, with the first event: nothing random is made before a snapshot of the process is.
handler = lambda_handler(Sequential.from_config)
