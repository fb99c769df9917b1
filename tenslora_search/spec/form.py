"""Form: what an adapter is made of. Rule: how it is trained. What the entries of tables return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tenslora_search.spec.table import QuestionError, unknown

if TYPE_CHECKING:
    from torch import Generator, Tensor

FROM_WEIGHTS = ("singular", "principal")
STARTS = ("zero", "uniform", "normal", "orthonormal", "signs", "ones", *FROM_WEIGHTS)
OUTPUT_MODES = ("output", "head", "head_dim")


@dataclass(frozen=True, slots=True)
class Axis:
    """A named axis of a factor: a mode (or a part of one, `input:1`) with its size, or a bond.

    The size of a bond is a rank.
    """

    name: str
    size: int | None = None

    @property
    def is_bond(self) -> bool:
        return self.size is None

    @property
    def mode(self) -> str:
        return self.name.partition(":")[0]


def bond(name: str) -> Axis:
    return Axis(name)


@dataclass(frozen=True, slots=True)
class Factor:
    """One array: its axes, and the distribution its entries start from.

    `start` is one of `STARTS`; signs are +1 and -1. Entries have variance 1 / (product of the axes
    named in `fan`), a third of it when uniform (Kaiming with a = sqrt 5). Orthonormal: the columns
    along the first bond, over the modes before it, for each block of what follows. `FROM_WEIGHTS`:
    the leading left singular vectors of the frozen weights' unfolding along the factor's modes, one
    a column of its only bond; principal: each times its singular value over their root mean square.
    Where there is no model they are orthonormal. A `frozen` factor is drawn and saved, but neither
    trained nor counted.
    """

    name: str
    axes: tuple[Axis, ...]
    start: str = "zero"
    fan: tuple[str, ...] = ()
    frozen: bool = False


Made = Mapping[str, "Tensor"]
"""Factors by name. Within a maker each is (copy, *axes): copies of equal ranks, and no padding."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a decomposition makes of a tensor's modes. `QuestionError` where it is not well formed.

    `factors` are contracted: cut, slice rank and caps follow from them. Where what is trained is
    not what is contracted, `trained` is counted, drawn, learnt and saved, and `make` turns it into
    the factors, for copies of equal ranks without padding: a softmax over padded entries would be
    another one. Every bond of a trained factor is one of the contracted factors. A `rule` is how
    the form must be trained on top of the trial's own; a form that is not `scaled` bounds itself,
    and the trial's scale is left out.

    One trained factor starts at zero, and so does the update. Where none does, `starts_at_zero`
    says why the update is zero all the same. `first_step` gives the Frobenius norm of one site's
    update after Adam's first step, in units of learning rate x scale, by the length of every axis;
    it is needed where the form is scaled and the norm does not follow from `Factor.start`: with
    `make`, or without a factor that starts at zero.

    A `dense` form is no pair: a factor may hold axes of both the input and the output, and the
    whole update is made at every site, at the cost of such a product. `limits` are the largest
    values of bonds where the factors would let them grow on to no use.
    """

    factors: tuple[Factor, ...]
    trained: tuple[Factor, ...] = ()
    make: Callable[[Made], Made] | None = None
    rule: "Rule | None" = None
    scaled: bool = True
    starts_at_zero: str = ""
    first_step: Callable[[Mapping[str, int]], float] | None = None
    dense: bool = False
    limits: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise QuestionError(f"this form is not well formed: {wrong}.")

    @property
    def learnt(self) -> tuple[Factor, ...]:
        """The factors that are drawn and saved: `trained`, or the contracted ones themselves."""
        return self.trained or self.factors

    @property
    def counted(self) -> tuple[Factor, ...]:
        """The factors that are trained, and so count towards a budget: those not frozen."""
        return tuple(factor for factor in self.learnt if not factor.frozen)

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the contracted factors says what the adapter is and how it learns."""
        is_made = bool(self.trained) or any(factor.frozen for factor in self.factors)
        return self.rule is None and self.scaled and not is_made and not self.dense


def _wrong(form: Form) -> str:
    """What keeps a form from being contracted and trained; empty if nothing does."""
    if bool(form.trained) != (form.make is not None):
        return "trained factors and make are given together or not at all"
    for factors in (form.factors, form.learnt):
        names = [factor.name for factor in factors]
        if len(set(names)) < len(names):
            return f"two factors have one name among {', '.join(names)}"
    carried = [axis.name for factor in form.factors for axis in _bonds(factor)]
    for factor in form.factors:
        modes = {axis.mode for axis in factor.axes}
        if "input" in modes and modes.intersection(OUTPUT_MODES) and not form.dense:
            return (
                f"{factor.name} holds axes of both the input and the output, and the form is not "
                "said to be dense"
            )
        alone = [axis.name for axis in _bonds(factor) if carried.count(axis.name) < 2]
        if alone:
            return f"bond {alone[0]} of {factor.name} joins no other factor"
    for factor in form.learnt:
        if factor.start not in STARTS:
            return unknown("start", factor.start, STARTS).rstrip(".")
        new = [axis.name for axis in _bonds(factor) if axis.name not in carried]
        if new:
            return f"bond {new[0]} of {factor.name} is none of the contracted factors"
    return _wrong_start(form)


def _wrong_start(form: Form) -> str:
    zeros = [factor for factor in form.learnt if factor.start == "zero"]
    stuck = [factor.name for factor in zeros if factor.frozen]
    if stuck:
        return f"{stuck[0]} is frozen at zero, so the update would be zero for ever"
    if len(zeros) != 1 and not form.starts_at_zero:
        names = ", ".join(factor.name for factor in zeros) or "none"
        return f"exactly one factor starts at zero, or starts_at_zero says why; found {names}"
    is_derived = form.make is None and len(zeros) == 1
    if form.scaled and form.first_step is None and not is_derived:
        return "its first step does not follow from its factors; give first_step"
    return ""


def _bonds(factor: Factor) -> tuple[Axis, ...]:
    return tuple(axis for axis in factor.axes if axis.is_bond)


class Care(NamedTuple):
    """How the optimizer treats a factor: its learning rate as a multiple of the trial's, its soft
    threshold, its decay.
    """

    rate: float = 1.0
    """0: the factor stays as it is, and its gradient does not count for the trial's clipping."""
    shrink: float = 0.0
    """After each step every entry moves this far towards zero: the proximal step of an L1 penalty.
    """
    fading_shrink: float = 0.0
    """As `shrink`, but times the schedule's share of the learning rate, so that it fades with it.
    """
    decays: bool = True
    """Whether the trial's weight decay applies."""

    def __and__(self, other: "Care") -> "Care":
        """What two rules ask for together: rates multiply, thresholds add, one veto ends decay."""
        return Care(
            self.rate * other.rate,
            self.shrink + other.shrink,
            self.fading_shrink + other.fading_shrink,
            self.decays and other.decays,
        )


class Learner(Protocol):
    """One trial's view of its own training, cut to its ranks: what a rule may look at and change.

    A factor's tensors are a list, one a shape group, each (*looped, *axes). Where copies have ranks
    of their own, the shorter ones end in zeros, which stay zeros. A frozen factor has a value
    alone.
    """

    @property
    def step(self) -> "int | Tensor":
        """The step, counted from 1: for `between` the one that was taken last, an int; for
        `penalty` the one that is being taken, a tensor () on the device.
        """
        ...

    @property
    def n_steps(self) -> int:
        """Steps of the whole trial."""
        ...

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What the trial's form learns, frozen factors included."""
        ...

    def generator(self) -> "Generator":
        """Made anew from the trial's seed and the step: the same draws paused and unbroken."""
        ...

    def value(self, factor: Factor) -> "list[Tensor]": ...
    def entries(self, factor: Factor) -> "list[Tensor]":
        """Which entries of the values are the trial's own, booleans on the CPU; the rest pads."""
        ...

    def gradient(self, factor: Factor) -> "list[Tensor]":
        """Of the step that was taken last, after clipping: for `between` alone."""
        ...

    def moments(self, factor: Factor) -> "list[tuple[Tensor, Tensor]]":
        """Adam's running means of the gradient and of its square."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """The three moments of a step at which a rule may act.

    `care` says how each factor is stepped. `penalty` is added to the trial's loss and recorded with
    the step: it may not wait for the device. `between` changes a trial in place between two steps,
    outside the recording, after every `every` steps but the last (0: never); or, where `links` is
    more than 1, between parts of the trial's steps, so many and equally long. With `restarts` the
    warm-up, the schedule and Adam (its step count and both moments) begin anew at each such call.
    """

    care: Callable[[Factor], Care] = lambda factor: Care()
    penalty: "Callable[[Learner], Tensor] | None" = None
    between: Callable[[Learner], None] | None = None
    every: int = 0
    links: int = 1
    restarts: bool = False

    def period(self, n_steps: int) -> int:
        """The steps from one call of `between` to the next, in a trial of so many; 0: no call."""
        if self.between is None:
            return 0
        return self.every if self.links == 1 else -(-n_steps // self.links)
