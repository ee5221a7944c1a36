"""Wrong variants of patches, and of what code does with a history that other code wrote."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, Patch, mutant

DEPLOY_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "only whoever recorded steps in one commit knows that no code is behind them",
        (
            Patch(
                "_player",
                "        self._children = 0\n",
                "        self._children, self._live = 0, False\n",
            ),
            Patch(
                "_player",
                'which were recorded just now."""\n',
                'which were recorded just now."""\n        self._live = not self.ready\n',
            ),
            Patch(
                "_player",
                "        self._later = None\n        return True\n",
                "        self._later, self._live = None, False\n        return True\n",
            ),
            Patch("_player", "not self._are_of_one_commit(record)\n", "not self._live\n"),
        ),
        SIMULATOR,
    ),
    mutant(
        "a step that was begun does not keep the old way of a patch behind records",
        "_player",
        "        scope.behind = left or (bool(run.open) and self._is_before(run.open))\n",
        "        scope.behind = left\n",
        SIMULATOR,
    ),
    mutant(
        "a patch is decided anew at each of its calls",
        "_scope",
        "return self.patches.setdefault(patch, not self.behind)",
        "return self.patches.get(patch) or not self.behind",
        SIMULATOR,
    ),
    mutant(
        "a deprecated patch lets runs pass that went its old way",
        "_scope",
        "    if not scope.is_patched(patch):\n",
        "    if not scope.is_patched(patch) and scope.gone:\n",
        SIMULATOR,
    ),
    mutant(
        "who starts over keeps the ways of before",
        "_protocol",
        "        patches=(),\n",
        "",
        SIMULATOR,
    ),
    mutant(
        "a retry says of its copies that they were recorded together",
        "_outside",
        "commit(evolve(run, op_id=op_id), found.run, steps)",
        "commit(evolve(run, op_id=op_id), found.run, [s._replace(op_id=op_id) for s in steps])",
        SIMULATOR,
    ),
    mutant(
        "code goes on in branches beside one that another step was begun in",
        "_settling",
        "                self.check(strands.waiting[position])\n",
        "                continue\n",
        SIMULATOR,
    ),
    mutant(
        "a retry loses which of its copies were recorded together",
        "_outside",
        "commit(evolve(run, op_id=op_id), found.run, steps)",
        "commit(evolve(run, op_id=op_id), found.run,"
        " [s._replace(op_id=self._token()) for s in steps])",
        "tests/core/test_versions.py::"
        "test_a_new_run_goes_the_new_way_where_what_was_recorded_together_was_copied",
    ),
    mutant(
        "children that other code began in a branch that lost are taken for those asked for",
        "_child_runs",
        "return asked.position in run.open or len(run.open) >= CHILDREN_NAMED",
        "return True",
        "tests/core/test_versions.py::"
        "test_a_child_is_begun_where_other_code_began_more_of_them_in_a_branch_that_lost",
    ),
)
