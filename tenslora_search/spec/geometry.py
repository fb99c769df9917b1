"""Geometry: how many linear maps a model offers to an adapter, and how long each of their axes
is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tenslora_search.spec.arguments import checked
from tenslora_search.spec.table import QuestionError, unknown

STACKED = ("projection", "layer")
"""The axes that count maps rather than features: a construction spans them or makes a copy for each
index.
"""


@dataclass(frozen=True, slots=True)
class Group:
    """A shape group: linear maps of one shape, which one tensor may stack.

    A map of the group has `input` features on one side and `heads * head_dim` on the other. Those
    named in `transposed` are read backwards (the output projection of attention, the second map of
    an MLP): their heads stand at the input, so their update is the transpose of the tensor's slice.
    """

    projections: tuple[str, ...]
    input: int
    heads: int
    head_dim: int
    layers: int
    transposed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("input", "heads", "head_dim", "layers"):
            if getattr(self, name) < 1:
                raise QuestionError(
                    f"a geometry needs {name} of 1 or more; got {getattr(self, name)}."
                )
        if not self.projections or len(set(self.projections)) < len(self.projections):
            raise QuestionError(
                "a shape group needs projections of different names; got "
                f"{', '.join(self.projections) or 'none'}."
            )

    @property
    def output(self) -> int:
        return self.heads * self.head_dim

    def size(self, axis: str) -> int:
        """The length of one of the axes input, output, head, head_dim, projection, layer."""
        sizes = {"head": self.heads, "projection": len(self.projections), "layer": self.layers}
        return sizes[axis] if axis in sizes else getattr(self, axis)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape groups of a model's adapted maps. Maps of unequal shape are never stacked: they
    form groups of their own.

    >>> Geometry.attention(hidden=64, heads=4, layers=2, kv_heads=2).projections
    ('query', 'key', 'value')
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise QuestionError("a geometry needs one shape group or more; got none.")

    @property
    def projections(self) -> tuple[str, ...]:
        """The maps that are adapted, group by group."""
        return tuple(name for group in self.groups for name in group.projections)

    @classmethod
    @checked()
    def attention(
        cls,
        hidden: int,
        heads: int,
        layers: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        inner: int | None = None,
        fused_up: bool = False,
        projections: Sequence[str] = ("query", "key", "value"),
    ) -> "Geometry":
        """The maps of a transformer; with fewer `kv_heads` (grouped-query attention) keys and
        values form a group.

        `out`, the output projection, is stacked transposed, so that its heads meet the others'
        (methods.md 2.5), and so is `down`. Those of the MLP (`up`, `gate`, `down`) have one head
        and need `inner`, its width; with `fused_up`, `up` makes the gate's features too.
        """
        head_dim = _head_dim(hidden, heads) if head_dim is None else head_dim
        if kv_heads is not None and (kv_heads < 1 or heads % kv_heads):
            raise QuestionError(
                f"{heads} heads cannot share {kv_heads} key/value heads; kv_heads must divide "
                "heads."
            )
        width, of_keys = inner or 0, (kv_heads or heads, head_dim)
        shapes: dict[str, tuple[int, int]] = {
            "query": (heads, head_dim),
            "key": of_keys,
            "value": of_keys,
            "out": (heads, head_dim),
            "up": (1, 2 * width if fused_up else width),
            "gate": (1, width),
            "down": (1, width),
        }
        maps: list[tuple[str, int, int, int, bool]] = []
        for name in projections:
            n_heads, channels = _shape_of(name, shapes)
            maps.append((name, hidden, n_heads, channels, name in ("out", "down")))
        return cls.of_maps(maps, layers)

    @classmethod
    def of_maps(cls, maps: Sequence[tuple[str, int, int, int, bool]], layers: int) -> "Geometry":
        """Groups `(projection, input, heads, head_dim, transposed)`, each present in every layer,
        by their shape.
        """
        shapes: dict[tuple[int, int, int], list[tuple[str, bool]]] = {}
        for name, width, heads, head_dim, transposed in maps:
            shapes.setdefault((width, heads, head_dim), []).append((name, transposed))
        return cls(
            tuple(
                Group(
                    tuple(name for name, _ in members),
                    *shape,
                    layers=layers,
                    transposed=tuple(name for name, back in members if back),
                )
                for shape, members in shapes.items()
            )
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Geometry":
        try:
            groups: list[dict[str, Any]] = [dict(group) for group in data["groups"]]
            for group in groups:
                for key in ("projections", "transposed"):
                    group[key] = names = tuple(group[key])
                    if not all(isinstance(name, str) for name in names):
                        raise TypeError(f"{key} are names; got {group[key]!r}")
            return cls(tuple(Group(**group) for group in groups))
        except (KeyError, TypeError) as error:
            raise QuestionError(f"this is no geometry of ours: {error}.") from error


def _head_dim(hidden: int, heads: int) -> int:
    if hidden < 1:
        raise QuestionError(f"a geometry needs input of 1 or more; got {hidden}.")
    if heads < 1 or hidden % heads:
        raise QuestionError(
            f"{hidden} features do not divide into {heads} heads; give heads that divide, or "
            "head_dim."
        )
    return hidden // heads


def _shape_of(name: str, shapes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """(heads, channels a head) of a projection."""
    if name not in shapes:
        raise QuestionError(unknown("projection", name, list(shapes)))
    if shapes[name][1] == 0:
        raise QuestionError(
            f"{name} is a map of the MLP, whose width is not known; give inner (--inner)."
        )
    return shapes[name]
