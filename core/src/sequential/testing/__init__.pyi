from ._clock import FakeClock as FakeClock
from ._crashes import Crash as Crash
from ._crashes import Survived as Survived
from ._crashes import crash_everywhere as crash_everywhere
from ._engine_contract import EngineContract as EngineContract
from ._fakes import Call as Call
from ._play import Played as Played
from ._play import PlayedStep as PlayedStep
from ._play import play as play
from ._span_store_contract import SpanStoreContract as SpanStoreContract
from ._storage_contract import StorageContract as StorageContract
from ._transport_contract import TransportContract as TransportContract
from ._verify import histories as histories
from ._verify import verify_replay as verify_replay

__all__ = [
    "Call",
    "Crash",
    "EngineContract",
    "FakeClock",
    "Played",
    "PlayedStep",
    "SpanStoreContract",
    "StorageContract",
    "Survived",
    "TransportContract",
    "crash_everywhere",
    "histories",
    "play",
    "verify_replay",
]
