"""The instances by name, with what is published of each: optimum or best bound, fingerprint, certificate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

from cbs_opt.errors import InputError, UnknownMethodError
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.patterns import prune_count
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.library.recipes import Recipe, recipes
from cbs_opt.proof.certificate.digest import block_digest
from cbs_opt.proof.certificate.record import Proof

HOME = resources.files("cbs_opt.library")
"""Where ``published.json`` and ``certificates/NAME.npz`` lie."""


@dataclass(frozen=True)
class Published:
    """What is known of an instance.

    Parameters
    ----------
    fingerprint : str
        SHA-256 over the block's numbers, in hex.
    objective : float
        The least loss known, of the mask in the certificate after the update.
    bound : float
        Proven by ``bnb`` in float64, its round-off taken off.
    certified : float
        What the certificate proves in exact arithmetic: the same, or less where a full one would be too large to ship.
    nodes : int
        Of the certificate.
    """

    fingerprint: str
    objective: float
    bound: float
    certified: float
    nodes: int

    @property
    def optimal(self) -> bool:
        """Whether ``bound`` proves ``objective`` to 1e-6."""
        return self.objective - self.bound <= 1e-6 * abs(self.objective)

    @property
    def certified_gap(self) -> float:
        """(objective − certified)/|objective|."""
        return max(0.0, (self.objective - self.certified) / abs(self.objective))


@dataclass(frozen=True)
class Instance:
    """One question about one block.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and hyphens.
    recipe : Recipe
        What the block is of, and how it is built.
    asked : Asked
        What is asked of the mask: a sparsity, or another pattern.
    published : Published or None
        None until ``python -m benchmarks.exact.instances --publish`` has run for it.
    """

    name: str
    recipe: Recipe
    asked: Asked
    published: Published | None

    @property
    def known(self) -> Published:
        """What is published.

        Raises
        ------
        InputError
            Nothing is.
        """
        if self.published is None:
            raise InputError(f"instance {self.name}: nothing is published of it; publish it with the benchmark")
        return self.published

    def problem(self) -> PruningProblem:
        """The block with its pattern, built anew, and checked against its fingerprint.

        Raises
        ------
        InputError
            The numbers are not those that were published.
        """
        problem = _block(self.recipe.name)
        if self.published is not None and block_digest(problem) != self.published.fingerprint:
            raise InputError(
                f"instance {self.name}: comes out with other numbers than those that were published, perhaps because "
                "scikit-learn's data have changed; install the version named in constraints.txt, or report it"
            )
        return self.asked.of(replace(problem, name=self.name))

    def certificate(self) -> Proof:
        """The certificate that comes with the package; ``check`` verifies it."""
        with resources.as_file(HOME / "certificates" / f"{self.name}.npz") as file:
            return Proof.load(file)


@cache
def instances() -> dict[str, Instance]:
    """All instances by name, in the order of the list."""
    table = HOME / "published.json"
    known: Mapping[str, Any] = json.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
    found = {}
    for recipe in recipes():
        for words in recipe.asked:
            asked = Asked.parse(words)
            name = f"{recipe.name}-{_suffix(asked, recipe)}"
            published = Published(**known[name]) if name in known else None
            found[name] = Instance(name, recipe, asked, published)
    return found


def instance(name: str) -> Instance:
    """The instance of that name.

    Raises
    ------
    UnknownMethodError
        There is none; says which is nearest.
    """
    try:
        return instances()[name]
    except KeyError:
        near = get_close_matches(name, instances(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UnknownMethodError(
            f"instance {name!r}: unknown; {hint}`cbs-opt instances list` names all of them"
        ) from None


def _suffix(asked: Asked, recipe: Recipe) -> str:
    """s80 for a sparsity of 0.8, 2of4 for 2:4, k05 for a subset of five columns."""
    if asked.kind == "sparsity":
        return f"s{prune_count(100, float(asked.value)):02}"
    if asked.kind == "pattern":
        return asked.value.replace(":", "of")
    return f"k{recipe.n - int(asked.value):02}"


@cache
def _block(name: str) -> PruningProblem:
    """The block of the recipe of that name, without a pattern; built once in a process."""
    (recipe,) = (recipe for recipe in recipes() if recipe.name == name)
    return recipe.build()
