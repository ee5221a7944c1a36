"""A flow for workers that are killed: each step leaves a line in a file that outlives them."""

from __future__ import annotations

import os
import time

from sequential import Steps, flow, tool


@tool("killed", "pack")
def pack(run_id: str, number: int) -> int:
    place = os.open(os.environ["PACKED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(place, f"{run_id} {number}\n".encode())
    os.close(place)
    time.sleep(0.01)
    return number


@flow(name="killed-parcel")
def parcel(run_id: str, steps: int) -> Steps[int]:
    total = 0
    for number in range(steps):
        total += yield from pack(run_id, number)
    return total
