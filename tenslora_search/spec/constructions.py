"""CONSTRUCTIONS: which axes one tensor spans. The stacked axes it leaves out (projection, layer)
are looped over, a copy each.

The order of the axes is the order in which ranks are written. `output` is `head` x `head_dim`
unsplit. Reference: Marmoret et al., TensLoRA, arXiv 2509.19391; `none` is one matrix a map, as in
LoRA.
"""

from tenslora_search.spec.table import Table

CONSTRUCTIONS: Table[str] = Table(
    "construction",
    {
        "none": "input output",
        "att": "input head_dim head",
        "qkv": "input output projection",
        "depth": "input output layer",
        "att_qkv": "input head_dim head projection",
        "att_depth": "input head_dim head layer",
        "qkv_depth": "input output projection layer",
        "att_qkv_depth": "input head_dim head projection layer",
    },
)
