"""All mutants: the wrong variants of the protocol that the built parts can express, and more."""

from __future__ import annotations

from tests.mutation.child_mutants import CHILD_MUTANTS
from tests.mutation.deploy_mutants import DEPLOY_MUTANTS
from tests.mutation.engine_mutants import ENGINE_MUTANTS
from tests.mutation.family_mutants import FAMILY_MUTANTS
from tests.mutation.flow_mutants import FLOW_MUTANTS
from tests.mutation.parallel_mutants import PARALLEL_MUTANTS
from tests.mutation.patch import Mutant
from tests.mutation.protocol_mutants import PROTOCOL_MUTANTS
from tests.mutation.repair_mutants import REPAIR_MUTANTS
from tests.mutation.storage_mutants import STORAGE_MUTANTS
from tests.mutation.told_mutants import TOLD_MUTANTS

MUTANTS: tuple[Mutant, ...] = (
    *PROTOCOL_MUTANTS,
    *ENGINE_MUTANTS,
    *FAMILY_MUTANTS,
    *FLOW_MUTANTS,
    *PARALLEL_MUTANTS,
    *STORAGE_MUTANTS,
    *CHILD_MUTANTS,
    *TOLD_MUTANTS,
    *REPAIR_MUTANTS,
    *DEPLOY_MUTANTS,
)
