"""The secret that told flows are given, and nobody may tell."""

CANARY = "canary-5b2f77"
