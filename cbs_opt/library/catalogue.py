"""The instances by name, with what is published of each: best objective, proven bounds, digest, certificate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from cbs_opt.errors import InputError, UnknownMethodError, did_you_mean
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.patterns import prune_count
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.library.recipes import Recipe, recipes
from cbs_opt.proof.certificate.digest import block_digest
from cbs_opt.proof.certificate.record import Proof

HOME = resources.files("cbs_opt.library")
"""The folder of ``published.json`` and ``certificates/NAME.npz``."""


@dataclass(frozen=True)
class Published:
    """What is published of an instance: the best known objective, and what is proven about it.

    Parameters
    ----------
    digest : str
        SHA-256 of the block's numbers, in hex.
    objective : float
        The least known loss: that of the certificate's mask after the update.
    bound : float
        The lower bound that ``bnb`` proved in float64, with its margin for round-off.
    certified : float
        The lower bound that the certificate proves in exact arithmetic. It is about ``bound``, or less where a
        certificate of that bound would be too large to ship.
    nodes : int
        The number of nodes of the certificate.
    """

    digest: str
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
        """The relative gap that the certificate proves: (objective − certified)/|objective|."""
        return max(0.0, (self.objective - self.certified) / abs(self.objective))


@dataclass(frozen=True)
class Instance:
    """One problem of the library: a block and a pattern, with what is published about its optimum.

    Parameters
    ----------
    name : str
        The name of the instance, of lower-case letters, digits and hyphens.
    recipe : Recipe
        Where the block comes from, and how it is built.
    asked : Asked
        The pattern of the masks: a sparsity, a number of weights, or another pattern.
    published : Published or None
        What is published; None until ``python -m benchmarks.exact.instances --publish`` has run for the instance.
    """

    name: str
    recipe: Recipe
    asked: Asked
    published: Published | None

    @property
    def known(self) -> Published:
        """``published``, for code that needs it.

        Raises
        ------
        InputError
            Nothing is published of the instance.
        """
        if self.published is None:
            raise InputError(f"instance {self.name}: nothing is published of it; publish it with the benchmark")
        return self.published

    def problem(self) -> PruningProblem:
        """Build the block with its pattern, and check its numbers against the published digest.

        Raises
        ------
        InputError
            The numbers are not those that were published.
        """
        problem = _block(self.recipe.name)
        if self.published is not None and block_digest(problem) != self.published.digest:
            raise InputError(
                f"instance {self.name}: comes out with other numbers than those that were published, perhaps because "
                "scikit-learn's data have changed; install the version named in constraints.txt, or report it"
            )
        return self.asked.of(replace(problem, name=self.name))

    def certificate(self) -> Proof:
        """The instance's certificate, which comes with the package; it is read here, and ``check`` verifies it."""
        with resources.as_file(HOME / "certificates" / f"{self.name}.npz") as file:
            return Proof.load(file)


@cache
def instances() -> dict[str, Instance]:
    """All instances by name, in the order in which ``cbs-opt instances list`` shows them."""
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
        There is none; the message suggests the nearest name.
    """
    try:
        return instances()[name]
    except KeyError:
        raise UnknownMethodError(
            f"instance {name!r}: unknown; {did_you_mean(name, instances())}`cbs-opt instances list` names all of them"
        ) from None


def _suffix(asked: Asked, recipe: Recipe) -> str:
    """The end of an instance's name: s80 for a sparsity of 0.8, 2of4 for 2:4, k05 for a subset of five columns."""
    if asked.kind == "sparsity":
        return f"s{prune_count(100, float(asked.value)):02}"
    if asked.kind == "pattern":
        return asked.value.replace(":", "of")
    return f"k{recipe.n - int(asked.value):02}"


@cache
def _block(name: str) -> PruningProblem:
    """The block of the recipe called ``name``, without a pattern; it is built once in a process."""
    (recipe,) = (recipe for recipe in recipes() if recipe.name == name)
    return recipe.build()
