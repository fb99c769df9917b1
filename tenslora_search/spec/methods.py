"""METHODS: the names people know, as points of the grid construction x decomposition."""

from typing import NamedTuple

from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import Table


class Method(NamedTuple):
    construction: str
    decomposition: str
    note: str


METHODS: Table[Method] = Table(
    "method",
    {
        "LoRA": Method("none", "cp", "one pair a matrix; arXiv 2106.09685"),
        "LoTR": Method(
            "depth",
            "tucker2",
            "factors shared over layers, a free matrix a layer; arXiv 2402.01376",
        ),
        "FacT-TT": Method(
            "qkv_depth",
            "tucker2",
            "factors shared by all maps, a free matrix each; arXiv 2212.03145",
        ),
        "LoRTA": Method(
            "att_qkv_depth", "cp", "one CP tensor of all heads, maps and layers; arXiv 2410.04060"
        ),
        "MetaTT": Method(
            "qkv_depth", "tensor_train", "one tensor train of all maps and layers; arXiv 2506.09105"
        ),
        "TT-LoRA": Method(
            "none", "tensorised_tt", "a tensor train over each reshaped update; arXiv 2408.01008"
        ),
        **{
            f"TensLoRA {name}": Method(
                name, "tucker", f"a Tucker tensor over {axes}; arXiv 2509.19391"
            )
            for name, axes in {
                "att": "heads",
                "qkv": "projections",
                "depth": "layers",
                "att_qkv": "heads and projections",
                "att_depth": "heads and layers",
                "qkv_depth": "projections and layers",
                "att_qkv_depth": "heads, projections and layers",
            }.items()
        },
    },
)


def method_name(structure: Structure) -> str:
    """The known name of a structure, or the structure in words."""
    for name, method in METHODS.items():
        if (method.construction, method.decomposition) == (
            structure.construction,
            structure.decomposition,
        ):
            return name
    return str(structure)
