"""A user, the user's posts, and the comments on them: three tool calls, each saved.

The flow is written in the literal form, a generator that yields ``{"__tool": [category, name,
input]}``. The tools read the small data set beside this file, so that the example needs no network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sequential import Steps, flow, tool

DATA = Path(__file__).with_name("data")


def rows(table: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((DATA / f"{table}.json").read_text("utf-8"))
    return read


@tool("api", "user")
def get_user(id: int) -> dict[str, Any]:
    users = {user["id"]: user for user in rows("users")}
    if id not in users:
        raise LookupError(f"there is no user {id}; the data has {min(users)} to {max(users)}")
    return users[id]


@tool("api", "posts")
def get_posts(user_id: int) -> list[dict[str, Any]]:
    return [post for post in rows("posts") if post["userId"] == user_id]


@tool("api", "comments")
def get_comments(post_ids: list[int]) -> list[dict[str, Any]]:
    return [comment for comment in rows("comments") if comment["postId"] in post_ids]


@flow
def summary(input: dict[str, Any]) -> Steps[dict[str, Any]]:
    user = yield {"__tool": ["api", "user", {"id": input["userId"]}]}
    if "__error" in user:  # the literal form returns errors instead of raising them
        raise LookupError(user["__error"])
    posts = yield {"__tool": ["api", "posts", {"user_id": user["id"]}]}
    comments = yield {"__tool": ["api", "comments", {"post_ids": [post["id"] for post in posts]}]}
    return {
        "user": user["name"],
        "posts": [post["title"] for post in posts],
        "comments": len(comments),
    }
