"""METHODS: the names people know, as points of the grid construction x decomposition x map x rule x
allocator x sites.
"""

from difflib import get_close_matches
from typing import NamedTuple, cast

from tenslora_search.spec.sites import are_sites
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError, Table, named_wrong, shortened


class Method(NamedTuple):
    """A point of the grid, and where it was published. What is left out is any sites, and no map,
    rule or allocator of its own.
    """

    construction: str
    decomposition: str
    note: str
    paper: str = ""
    """arXiv's number, or where else it stands"""
    year: int = 0
    map: str = "as_is"
    rule: str = "plain"
    allocator: str = "level"
    sites: str = ""

    @property
    def choices(self) -> dict[str, str]:
        """What it says besides the structure, by the keys of a space."""
        said = {"map": self.map, "rule": self.rule, "allocator": self.allocator}
        return {**said, "sites": self.sites} if self.sites else said

    @property
    def source(self) -> str:
        """`arXiv 2106.09685, 2021`; empty where nothing is said."""
        paper = f"arXiv {self.paper}" if self.paper[:4].isdigit() else self.paper
        return ", ".join([paper, str(self.year)] if self.year else [paper] if paper else [])


_TRAINING = {
    "LoRA": Method("none", "cp", "one pair a matrix", "2106.09685", 2021),
    "LoRA+": Method(
        "none", "cp", "LoRA, B learns 16 times as fast", "2402.12354", 2024, rule="lora_plus"
    ),
    "LoRAN": Method(
        "none", "cp", "LoRA, then z + a z sin(f z)", "Findings of EMNLP", 2024, map="sinter"
    ),
    "PRILoRA": Method(
        "none",
        "cp",
        "LoRA, ranks that grow with depth, A pruned while it learns",
        "2401.11316",
        2024,
        rule="prilora",
        allocator="ramp",
    ),
    "PRILoRA ramp": Method(
        "none", "cp", "LoRA, ranks that grow with depth", "2401.11316", 2024, allocator="ramp"
    ),
    "GeLoRA": Method(
        "none",
        "cp",
        "LoRA, more rank where the states gain dimensions",
        "2412.09250",
        2024,
        allocator="gelora",
    ),
    "dedup": Method(
        "none",
        "cp",
        "LoRA, columns alike cost: ours, for ReSoRA's",
        "2507.20745",
        2025,
        rule="dedup",
    ),
}
"""LoRA, and what a map, a rule or an allocator makes of it."""

_STRUCTURES = {
    "SoRA": Method("none", "sora", "LoRA with gates that training shuts", "2311.11696", 2023),
    "AdaLoRA": Method(
        "none", "adalora", "LoRA as an SVD, the most important terms kept", "2303.10512", 2023
    ),
    "RAC-LoRA": Method(
        "none", "rac_lora", "a chain of LoRA links, A drawn and frozen", "2410.08305", 2024
    ),
    "NB-LoRA": Method(
        "none", "nb_lora", "norm-bounded (Cayley); not 2609.25618, null-basis", "2501.19050", 2025
    ),
    "LoTR": Method(
        "depth", "tucker2", "factors shared over layers, a free matrix each", "2402.01376", 2024
    ),
    "FacT-TT": Method(
        "qkv_depth", "tucker2", "factors shared by all maps, a free matrix each", "2212.03145", 2022
    ),
    "LoRTA": Method(
        "att_qkv_depth", "cp", "one CP tensor of all heads, maps and layers", "2410.04060", 2024
    ),
    "MetaTT": Method(
        "qkv_depth", "tensor_train", "one train of all maps and layers", "2506.09105", 2025
    ),
    "TT-LoRA": Method(
        "none", "tensorised_tt", "a tensor train over each reshaped update", "2408.01008", 2024
    ),
    "FacT-TK": Method(
        "qkv_depth", "fact_tk", "a Tucker tensor over all maps as one mode", "2212.03145", 2022
    ),
    "CaRA": Method(
        "att_qkv_depth", "cara", "CP, its weights trained, maps as one mode", "ICML", 2025
    ),
    "LoRETTA": Method(
        "none", "loretta", "LoRA, A and B a tensor train each (rep)", "2402.11417", 2024
    ),
    "TensorGuide": Method(
        "none", "tensor_guide", "one tensor train makes A and B", "2506.16456", 2025
    ),
    "LoRA-FA": Method("none", "lora_fa", "LoRA, A frozen", "2308.03303", 2023),
    "VeRA": Method(
        "qkv_depth", "vera", "shared random A and B, trained scaling vectors", "2310.11454", 2023
    ),
    "LoRA-XS": Method(
        "none", "lora_xs", "r x r between the weight's singular vectors", "2405.17604", 2024
    ),
    "TeRA": Method(
        "qkv_depth", "tera", "a random Tucker tensor, trained diagonals", "2509.03234", 2025
    ),
    "QuanTA": Method(
        "none", "quanta", "gates on a reshaped input; dense, high rank", "2406.00132", 2024
    ),
}
"""Told by their structure. The order is that in which a search tries them first."""

_TENSLORA = {
    f"TensLoRA {name}": Method(name, "tucker", f"a Tucker tensor over {axes}", "2509.19391", 2025)
    for name, axes in {
        "att": "heads",
        "qkv": "projections",
        "depth": "layers",
        "att_qkv": "heads and projections",
        "att_depth": "heads and layers",
        "qkv_depth": "projections and layers",
        "att_qkv_depth": "heads, projections and layers",
    }.items()
}
METHODS: Table[Method] = Table("method", {**_TRAINING, **_STRUCTURES, **_TENSLORA})


USUAL = {"map": "as_is", "rule": "plain", "allocator": "level"}
"""What a method does not name is so, or is said after its name."""


def find_method(name: str) -> Method:
    """The row that people mean by a name, in whatever case; `QuestionError` with the nearest one.

    >>> find_method("sora")[:2]
    ('none', 'sora')
    """
    written = {_folded(one): one for one in METHODS}
    if _folded(name) in written:
        return METHODS[written[_folded(name)]]
    nearest = get_close_matches(_folded(name), written, n=1, cutoff=0.5)
    near = written[nearest[0]] if nearest else ""
    raise QuestionError(named_wrong(METHODS.kind, name, METHODS, near))


EVERY = "all"
"""In place of names of methods: all that the model holds within the budget."""


def methods_named(said: object) -> tuple[str, ...]:
    """The names of the rows that a text with commas, or a list, means, each once; ("all",) stays.

    The first word of several rows means each of them: tenslora. `QuestionError` for a wrong name.

    >>> methods_named("lora, nb_lora")
    ('LoRA', 'NB-LoRA')
    """
    names = said.split(",") if isinstance(said, str) else said
    if not isinstance(names, list | tuple) or not names:
        raise QuestionError(f"methods are names with commas between them; got {shortened(said)}.")
    rows = {id(row): name for name, row in METHODS.items()}
    found: dict[str, None] = {}
    for one in cast("list[object]", names):
        if not isinstance(one, str):
            raise QuestionError(f"a method is a name; got {shortened(one)}.")
        name = one.strip()
        if _folded(name) == EVERY:
            return (EVERY,)
        kin = [row for row in METHODS if name and _folded(row).startswith(_folded(name) + " ")]
        is_row = _folded(name) in map(_folded, METHODS)
        found |= dict.fromkeys(kin if kin and not is_row else [rows[id(find_method(name))]])
    return tuple(found)


def _folded(name: str) -> str:
    """Names are alike whatever their case, and whatever stands between their words."""
    return name.casefold().replace("-", " ").replace("_", " ")


def method_name(structure: Structure, *, rule: str = "plain", allocator: str = "level") -> str:
    """The name people know: that of the row with most in common, then what it leaves unsaid.

    A structure that no row names is said in words: `qkv x cp, lora_plus`.
    """
    point = {"map": structure.after.name, "rule": rule, "allocator": allocator}
    unusual = {key: name for key, name in point.items() if name != USUAL[key]}
    projections = structure.geometry.projections
    best, said, most = f"{structure.construction} x {structure.decomposition}", set[str](), -1
    for name, method in METHODS.items():
        named = {key: one for key, one in method.choices.items() if one != USUAL.get(key)}
        sites = named.pop("sites", None)
        of_structure = method[:2] == (structure.construction, structure.decomposition)
        on_sites = sites is None or are_sites(projections, sites)
        n_said = len(named) + (sites is not None)
        if of_structure and on_sites and named.items() <= unusual.items() and n_said > most:
            best, said, most = name, set(named), n_said
    return ", ".join([best, *(one for key, one in unusual.items() if key not in said)])
