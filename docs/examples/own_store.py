"""A flow over a store of its own: five methods, one step an invocation.

Run it, and see what each invocation does and what the store then holds:

    python own_store.py
"""

from __future__ import annotations

from typing import Any

from sequential import Steps
from sequential.executor import create_flow_executor


class Store:
    """Two tables. A real one would be a database; what it is given is plain JSON data."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.results: dict[tuple[str, int], Any] = {}

    def get(self, run_id: str) -> dict[str, Any] | None:
        return self.runs.get(run_id)

    def set(self, run_id: str, state: dict[str, Any]) -> None:
        self.runs[run_id] = state

    def delete(self, run_id: str) -> None:
        self.runs.pop(run_id, None)
        for key in [key for key in self.results if key[0] == run_id]:
            del self.results[key]

    def get_result(self, run_id: str, step: int) -> Any:
        return self.results.get((run_id, step))

    def set_result(self, run_id: str, step: int, result: Any) -> None:
        self.results[run_id, step] = result


def workflow(input: dict[str, Any]) -> Steps[dict[str, Any]]:
    user = yield {"__tool": ["api", "user", {"id": input["userId"]}]}
    posts = yield {"__tool": ["api", "posts", {"uid": user["id"]}]}
    comments = yield {"__tool": ["api", "comments", {"postIds": [post["id"] for post in posts]}]}
    return {"user": user, "postsCount": len(posts), "commentsCount": len(comments)}


ANSWERS: dict[str, Any] = {
    "user": {"id": 1, "name": "Alice"},
    "posts": [{"id": 101}, {"id": 102}],
    "comments": [{"id": 1001}, {"id": 1002}, {"id": 1003}],
}


async def call(category: str, name: str, input: dict[str, Any]) -> Any:
    """Make a tool call: in real use an HTTP request, a query."""
    print(f"  tool {category}.{name} {input}")
    return ANSWERS[name]


async def resume(run_id: str) -> None:
    """Ask for the next invocation: in real use an HTTP request or a queue's message."""
    print(f"  resume: would POST /resume/{run_id}")


def main() -> None:
    store, run_id = Store(), "exec-001"
    for invocation in range(1, 5):
        print(f"invocation {invocation}")
        executor = create_flow_executor(store, call, resume)  # a new process knows no more
        print(f"  answer {executor.execute(workflow, run_id, {'userId': 1})}")
        print(f"  stored {store.runs}")


if __name__ == "__main__":
    main()
