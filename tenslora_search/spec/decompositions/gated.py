"""Terms with a number each: gates that training shuts."""

from typing import Annotated

from tenslora_search.spec.decompositions.basic import cp
from tenslora_search.spec.form import Axis, Care, Factor, Form, Rule, bond
from tenslora_search.spec.knobs import Choice, Range


def sora(
    modes: tuple[Axis, ...],
    *,
    xi: Annotated[float, Range(1e-5, 1e-2, log=True)] = 3e-4,
    threshold: Annotated[str, Choice(("fixed", "fading"))] = "fixed",
) -> Form:
    """CP with a gate on each term: W = sum_r g[r] u_1[:, r] x ... x u_n[:, r]; training shuts some.

    After each step every gate moves `xi` towards 0 and stays there if it would pass it; a `fading`
    threshold is `xi` times the schedule's share of the learning rate (the paper's eta_t lambda with
    lambda = xi / learning rate). Gates start from N(0, 1) and know no weight decay; the output
    factor starts at zero. The budget counts all gates, shut or not.
    Reference: SoRA, arXiv 2311.11696; both its published files subtract xi and then zero what is
    below xi, a dead zone of 2 xi: this is the proximal step itself.
    """
    name = "shrink" if threshold == "fixed" else "fading_shrink"
    gates = Care(decays=False)._replace(**{name: xi})
    rule = Rule(care=lambda factor: gates if factor.name == "gate" else Care())
    return Form((*cp(modes).factors, Factor("gate", (bond("r"),), "normal")), rule=rule)
